"""How near the logits of one way to compute come to those of another."""

import torch
from torch.nn import functional

LOGITS = 1e-4  # of their range
LABELS = 0.9999  # share of the pixels


def assert_agree(actual, expected, size=(193, 193)):
    """Logits (N, K, h, w) are the expected ones, and so are the labels at `size`; the expected ones tell classes apart."""
    assert actual.shape == expected.shape
    assert torch.isfinite(expected).all()
    spread = expected.max() - expected.min()
    assert spread > 0
    assert (actual - expected).abs().max() <= LOGITS * spread
    ours, theirs = (labels_of(logits, size) for logits in (actual, expected))
    assert (ours == theirs).float().mean() >= LABELS
    assert len(theirs.unique()) > 1, "the same class everywhere says nothing"


def labels_of(logits, size):
    """The best class of every pixel, (N, height, width)."""
    return functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False).argmax(dim=1)
