"""Random logits and masks with void."""

import torch

VOID = 255


def random_case(seed, *, batch=2, classes=5, size=(17, 23), void=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *size, generator=generator) * 3
    mask = torch.randint(0, classes, (batch, *size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < void] = VOID
    return logits, mask
