"""Random weights under which a wrong rate, padding or grid shows: no signal fades, none explodes."""

import torch
from torch import Tensor, nn


def randomise(network: nn.Module, *, seed: int = 1) -> nn.Module:
    """Fill convolutions, norms and their statistics, in place, and return it in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                deviation = (2 / layer.weight[0].numel()) ** 0.5
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * deviation)
                if layer.bias is not None:
                    layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.1)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(torch.rand(layer.weight.shape, generator=generator) * 0.4 + 0.5)
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
                layer.running_mean.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
                layer.running_var.copy_(torch.rand(layer.bias.shape, generator=generator) + 0.5)
    return network.eval()


def image_of(height: int, width: int, *, seed: int = 5) -> Tensor:
    """A smooth image with edges, (1, 3, H, W), of deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, height // 16 + 2, width // 16 + 2, generator=generator)
    image = nn.functional.interpolate(coarse, size=(height, width), mode="nearest")
    return image + 0.2 * torch.randn(1, 3, height, width, generator=generator)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Of logits, in units of the deviation that the reference's have between places in the image."""
    assert ours.shape == theirs.shape
    deviation = theirs.std(dim=(-2, -1)).mean()
    assert deviation > 0.01, "the reference says nothing: the same everywhere"
    return float((ours - theirs).abs().max() / deviation)
