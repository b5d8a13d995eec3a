"""Class weights in the loss, and taking their tilt back afterwards."""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import nn

from atrous.errors import DataError
from atrous.models.deeplab import DeepLab

__all__ = ["add_to_biases", "class_weights", "median_weights", "take_back_tilt"]

LARGEST_WEIGHT = 10.0


def class_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """One over the root of each class's share of `pixels`, scaled so that the mean over pixels is 1, at most 10.

    A class without pixels weighs as much as the rarest that has some.

    Raises:
        DataError: no pixel of any class.
    """
    total = sum(pixels)
    present = _present(pixels)
    inverse = [math.sqrt(total / max(count, min(present))) for count in pixels]
    mean = sum(weight * count for weight, count in zip(inverse, pixels, strict=True)) / total
    return tuple(min(weight / mean, LARGEST_WEIGHT) for weight in inverse)


def median_weights(pixels: Sequence[int]) -> tuple[float, ...]:
    """The median share of the classes over each class's share of `pixels` (Eigen and Fergus 2015, arXiv 1411.4734).

    That is SegNet's median frequency balancing, but with shares of all pixels instead of the images that hold the class.
    At most 10; a class without pixels weighs as much as the rarest that has some.

    Raises:
        DataError: no pixel of any class.
    """
    present = _present(pixels)
    middle = statistics.median(present)
    return tuple(min(middle / max(count, min(present)), LARGEST_WEIGHT) for count in pixels)


def _present(pixels: Sequence[int]) -> list[int]:
    present = [count for count in pixels if count]
    if not present:
        raise DataError("the training masks hold no labelled pixel, so no class can be learned. Run `atrous check`.")
    return present


def take_back_tilt(network: DeepLab, weights: Sequence[float], *, share: float) -> None:
    """Lower the bias of each class's logit by `share` times the logarithm of its weight, in place.

    A network trained with class weights w gives probabilities proportional to w times the true ones, so it draws rare
    things too large. The weights have helped to learn what rare classes look like; for the answer, most of their tilt is
    taken back (logit adjustment, Menon et al. 2021, arXiv 2007.07314, section 4.1, applied the other way round). `share` 1
    gives the true probabilities.

    Raises:
        ValueError: the classifier has no layer named `logits` with a bias.
    """
    add_to_biases(network, [-share * math.log(weight) for weight in weights])


def add_to_biases(network: DeepLab, shift: Sequence[float]) -> None:
    """Add one number to the bias of each class's logit, in place; the shift passes through bilinear resizing unchanged.

    Raises:
        ValueError: the classifier has no layer named `logits` with a bias.
    """
    logits = getattr(network.classifier, "logits", None)
    if not isinstance(logits, nn.Conv2d) or logits.bias is None:
        raise ValueError(f"{type(network.classifier).__name__} has no layer named `logits` with a bias")
    with torch.no_grad():
        logits.bias += torch.tensor(shift, dtype=torch.float64).to(logits.bias)
