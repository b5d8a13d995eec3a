"""A training's loss: a sum of terms, each a mean over what is valid in all images of a step.

A step may compute its images in several parts. Its loss is the mean over all of them, not the mean of the parts' means:
so a term gives its total for some images, and its weight for some masks, and the caller divides by the weight of the
whole step. No term needs more than the masks to know its weight.

Shape letters: N batch, K classes, H height, W width; h, w of the coarse logits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from atrous.loss_names import parse_sum
from atrous.losses.banded import resize, resized_pixel_losses, resized_pixel_sum
from atrous.losses.overlap import OverlapLoss, dice_loss, lovasz_loss
from atrous.losses.pixels import hardest_weights, pixel_weights, safe_ratio

__all__ = ["Loss", "OverlapTerm", "PixelTerm", "Term", "make_loss"]


class Term(Protocol):
    """One part of a loss."""

    def weight(self, mask: Tensor) -> Tensor:
        """What the total over these masks (N, H, W) is divided by, a scalar; 0 where all is void."""
        ...

    def total(self, coarse: Tensor, mask: Tensor) -> Tensor:
        """The sum over these images, a differentiable scalar, of logits (N, K, h, w) and masks (N, H, W) int64."""
        ...


@dataclass(frozen=True, kw_only=True)
class PixelTerm:
    """Cross entropy, also label-smoothed, focal (`gamma`), or over the `hardest` share of each image's pixels.

    With `hardest` below 1 the kept pixels' losses are divided by their number times the mean weight of the image's
    pixels; the whole share gives the plain weighted mean.
    """

    ignore_index: int
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    gamma: float = 0.0
    hardest: float = 1.0

    def weight(self, mask: Tensor) -> Tensor:
        """The sum of the pixels' weights."""
        weights = self._weights(mask)
        if self.hardest >= 1:
            return weights.sum()
        shares = [math.ceil(self.hardest * count) / max(count, 1) for count in self._counts(mask)]
        return (weights.sum(dim=(1, 2)) * torch.tensor(shares, device=mask.device)).sum()

    def total(self, coarse: Tensor, mask: Tensor) -> Tensor:
        """The weighted sum over the pixels."""
        weights = self._weights(mask)
        if self.hardest < 1:
            losses = resized_pixel_losses(
                coarse.detach(),
                mask,
                ignore_index=self.ignore_index,
                label_smoothing=self.label_smoothing,
                gamma=self.gamma,
            )
            weights = hardest_weights(losses, weights, share=self.hardest)
        return resized_pixel_sum(
            coarse,
            mask,
            weights,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            gamma=self.gamma,
        )

    def _weights(self, mask: Tensor) -> Tensor:
        return pixel_weights(mask, ignore_index=self.ignore_index, class_weights=self.class_weights)

    def _counts(self, mask: Tensor) -> list[int]:
        return (mask != self.ignore_index).sum(dim=(1, 2)).tolist()


@dataclass(frozen=True, kw_only=True)
class OverlapTerm:
    """Dice or Lovasz, a mean over the images that are not all void.

    With `every` above 1 it looks at every so-manieth row and column of the enlarged logits and the mask alone.
    """

    loss: OverlapLoss
    ignore_index: int
    every: int = 1

    def weight(self, mask: Tensor) -> Tensor:
        """The number of images with a valid pixel among those that are looked at."""
        return (self._seen(mask) != self.ignore_index).flatten(1).any(dim=1).sum().float()

    def total(self, coarse: Tensor, mask: Tensor) -> Tensor:
        """The sum over the images."""
        total = coarse.float().sum() * 0  # keeps the graph where every image is void
        for image, truth in zip(coarse, self._seen(mask), strict=True):
            valid = truth != self.ignore_index
            if valid.any():
                logits = self._seen(resize(image[None], mask.shape[-2:])[0])
                total = total + self.loss(logits[:, valid], truth[valid])
        return total

    def _seen(self, pixels: Tensor) -> Tensor:
        start = self.every // 2
        return pixels[..., start :: self.every, start :: self.every]


class Loss:
    """A weighted sum of terms."""

    def __init__(self, terms: Sequence[tuple[float, Term]]) -> None:
        self.terms = tuple(terms)

    def weights(self, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Each term's weight over all the masks of a step, whatever the parts that they come in."""
        return tuple(torch.stack([term.weight(mask) for mask in masks]).sum() for _, term in self.terms)

    def share(self, coarse: Tensor, mask: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """What these images add to the step's loss, given the step's `weights`; a differentiable scalar."""
        parts = [
            factor * safe_ratio(term.total(coarse, mask), weight)
            for (factor, term), weight in zip(self.terms, weights, strict=True)
        ]
        return torch.stack(parts).sum()

    def __call__(self, coarse: Tensor, mask: Tensor) -> Tensor:
        """The loss of images that are a step of their own."""
        return self.share(coarse, mask, self.weights([mask]))


def make_loss(
    text: str,
    *,
    ignore_index: int = 255,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 2.0,
    ohem_share: float = 0.25,
    overlap_every: int = 1,
) -> Loss:
    """Build the loss that `text` names: one of `loss_names.TERMS`, or a sum such as "cross_entropy + 0.5 * lovasz".

    Class weights and label smoothing act on the terms that are means over pixels. A gamma of 2 is the focal paper's
    best (arXiv 1708.02002, table 1b); a share of 0.25 is the one that TensorFlow's DeepLab tells of.

    Raises:
        ValueError: see `parse_sum`.
    """
    terms: list[tuple[float, Term]] = []
    for factor, name in parse_sum(text):
        if name in ("dice", "lovasz"):
            loss = dice_loss if name == "dice" else lovasz_loss
            terms.append((factor, OverlapTerm(loss=loss, ignore_index=ignore_index, every=overlap_every)))
            continue
        terms.append(
            (
                factor,
                PixelTerm(
                    ignore_index=ignore_index,
                    class_weights=class_weights,
                    label_smoothing=label_smoothing,
                    gamma=focal_gamma if name == "focal" else 0.0,
                    hardest=ohem_share if name == "ohem" else 1.0,
                ),
            )
        )
    return Loss(terms)
