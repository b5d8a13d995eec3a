"""Losses that are a mean over pixels, each pixel for itself: the plain computations.

Shape letters: N batch, K classes, H height, W width. Void pixels (`ignore_index`) weigh nothing: they enter neither the
sum nor the number that it is divided by. What has only void pixels gives 0 with zero gradients, not 0 / 0.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["cross_entropy", "cross_entropy_sums", "hardest_weights", "pixel_losses", "pixel_weights", "safe_ratio"]


def cross_entropy(
    logits: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the pixels that are not ignored; weighted mean with `class_weights`.

    Args:
        logits: (N, K, H, W) float.
        mask: (N, H, W) int64, 0 to K - 1 or `ignore_index`.
        ignore_index: the value of void.
        class_weights: (K,) float32, or None for equal weights.
    """
    total, weight = cross_entropy_sums(logits, mask, ignore_index=ignore_index, class_weights=class_weights)
    return safe_ratio(total, weight)


def cross_entropy_sums(
    logits: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss summed over valid pixels, and the sum of their weights: what means over several batches need.

    Both are scalars in float32, also under autocast.
    """
    total = functional.cross_entropy(
        logits.float(), mask, weight=class_weights, ignore_index=ignore_index, reduction="sum"
    )
    return total, pixel_weights(mask, ignore_index=ignore_index, class_weights=class_weights).sum()


def pixel_losses(
    logits: Tensor, mask: Tensor, *, ignore_index: int = 255, label_smoothing: float = 0.0, gamma: float = 0.0
) -> Tensor:
    """The loss of every pixel, 0 for void: (N, H, W) float32, of logits (N, K, H, W) and mask (N, H, W) int64.

    Cross entropy against (1 - s) of the true class plus s / K of every class, where s is `label_smoothing` (Szegedy et
    al. 2015, arXiv 1512.00567, section 7). With `gamma` above 0 it is times (1 - p)^gamma, where p is the true class's
    probability: the focal loss (Lin et al. 2017, arXiv 1708.02002, section 3.2).
    """
    valid = mask != ignore_index
    log_scores = logits.float().log_softmax(dim=1)
    true = log_scores.gather(1, mask.masked_fill(~valid, 0)[:, None])[:, 0]
    losses = -(1 - label_smoothing) * true - label_smoothing * log_scores.mean(dim=1)
    if gamma:
        losses = losses * (1 - true.exp()).clamp_min(0) ** gamma
    return losses * valid


def pixel_weights(mask: Tensor, *, ignore_index: int, class_weights: Tensor | None) -> Tensor:
    """The weight of every pixel, 0 for void: (N, H, W) float32."""
    valid = mask != ignore_index
    if class_weights is None:
        return valid.float()
    return class_weights[mask.masked_fill(~valid, 0)] * valid


def hardest_weights(losses: Tensor, weights: Tensor, *, share: float) -> Tensor:
    """`weights` (N, H, W) with 0 for all but the `share` of each image's valid pixels whose weighted loss is highest.

    Online hard example mining by share, as in TensorFlow's DeepLab (`top_k_percent_pixels`), but image by image, so that
    a pixel's part in the loss does not depend on which images share its batch. The number kept is rounded up.
    """
    kept = torch.zeros_like(weights)
    for image, weight, out in zip(losses.detach(), weights, kept, strict=True):
        count = math.ceil(share * int(torch.count_nonzero(weight)))
        if count:
            ranked = (image * weight).masked_fill(weight == 0, -1).flatten()
            index = ranked.topk(count, sorted=False).indices
            out.view(-1)[index] = weight.flatten()[index]
    return kept


def safe_ratio(total: Tensor, weight: Tensor) -> Tensor:
    """`total / weight`, and 0 where both are 0."""
    return total / weight.clamp_min(torch.finfo(torch.float32).tiny)
