"""Class weights in the loss, and taking their tilt back afterwards."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from atrous.errors import DataError
from atrous.models.deeplab import DeepLab

__all__ = ["class_weights", "take_back_tilt"]

LARGEST_WEIGHT = 10.0


def class_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """One over the root of each class's share of `pixels`, scaled so that the mean over pixels is 1, at most 10.

    A class without pixels weighs as much as the rarest that has some.

    Raises:
        DataError: no pixel of any class.
    """
    total = sum(pixels)
    present = [count for count in pixels if count]
    if not present:
        raise DataError("the training masks hold no labelled pixel, so no class can be learned. Run `atrous check`.")
    inverse = [math.sqrt(total / max(count, min(present))) for count in pixels]
    mean = sum(weight * count for weight, count in zip(inverse, pixels, strict=True)) / total
    return tuple(min(weight / mean, LARGEST_WEIGHT) for weight in inverse)


def take_back_tilt(network: DeepLab, weights: Sequence[float], *, share: float) -> None:
    """Lower the bias of each class's logit by `share` times the logarithm of its weight, in place.

    A network trained with class weights w gives probabilities proportional to w times the true ones, so it draws rare
    things too large. The weights have helped to learn what rare classes look like; for the answer, most of their tilt is
    taken back (logit adjustment, Menon et al. 2021, arXiv 2007.07314, section 4.1, applied the other way round). The
    shift passes through bilinear resizing unchanged. `share` 1 gives the true probabilities.

    Raises:
        ValueError: the classifier has no layer named `logits` with a bias.
    """
    logits = getattr(network.classifier, "logits", None)
    if not isinstance(logits, nn.Conv2d) or logits.bias is None:
        raise ValueError(f"{type(network.classifier).__name__} has no layer named `logits` with a bias")
    shift = torch.tensor([share * math.log(weight) for weight in weights])
    with torch.no_grad():
        logits.bias -= shift.to(logits.bias)
