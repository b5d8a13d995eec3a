"""Losses over the valid pixels of a batch. Shape letters: N batch, K classes, H height, W width; h, w of coarse logits."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["cross_entropy", "cross_entropy_sums", "resized_cross_entropy"]

BAND_ELEMENTS = 1 << 17  # scores of one band: 512 kB in float32, which stay in a core's second-level cache


def cross_entropy(
    logits: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the pixels that are not ignored; weighted mean with `class_weights`.

    A batch with only ignored pixels gives 0 with zero gradients, where the plain mean is 0 / 0.

    Args:
        logits: (N, K, H, W) float.
        mask: (N, H, W) int64, 0 to K - 1 or `ignore_index`.
        ignore_index: the value of void.
        class_weights: (K,) float32, or None for equal weights.
    """
    total, weight = cross_entropy_sums(logits, mask, ignore_index=ignore_index, class_weights=class_weights)
    return total / _not_zero(weight)


def cross_entropy_sums(
    logits: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss summed over valid pixels, and the sum of their weights: what means over several batches need.

    Both are scalars in float32, also under autocast.
    """
    total = functional.cross_entropy(
        logits.float(), mask, weight=class_weights, ignore_index=ignore_index, reduction="sum"
    )
    return total, _pixel_weights(mask, ignore_index, class_weights).sum()


def resized_cross_entropy(
    coarse: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> Tensor:
    """`cross_entropy` of the logits resized bilinearly to the mask, without ever holding all of them.

    Equal to `cross_entropy(interpolate(coarse, mask.shape[1:]), mask)` in value and gradient, within float tolerance.
    The resized scores are made, used for loss and gradient, and dropped, a band of rows at a time: on a CPU they never
    leave the cache, and memory does not grow with the mask.

    Args:
        coarse: (N, K, h, w) float, at the network's own stride.
        mask: (N, H, W) int64.
        ignore_index: the value of void.
        class_weights: (K,) float32, or None for equal weights.
    """
    if coarse.device.type != "cpu":
        # Many small kernels do not pay on a GPU.
        resized = functional.interpolate(coarse.float(), size=mask.shape[1:], mode="bilinear", align_corners=False)
        return cross_entropy(resized, mask, ignore_index=ignore_index, class_weights=class_weights)
    pixel_weights = _pixel_weights(mask, ignore_index, class_weights)
    total = _BandedSum.apply(coarse.float(), mask.masked_fill(mask == ignore_index, 0), pixel_weights)
    assert isinstance(total, Tensor)
    return total / _not_zero(pixel_weights.sum())


def _pixel_weights(mask: Tensor, ignore_index: int, class_weights: Tensor | None) -> Tensor:
    """The weight of every pixel, 0 for void: (N, H, W) float32."""
    valid = mask != ignore_index
    if class_weights is None:
        return valid.float()
    return class_weights[mask.masked_fill(~valid, 0)] * valid


def _not_zero(weight: Tensor) -> Tensor:
    return weight.clamp_min(torch.finfo(torch.float32).tiny)


class _BandedSum(torch.autograd.Function):
    """Sum of weighted cross entropies of bilinearly resized logits; the gradient is made on the way forward."""

    @staticmethod
    def forward(ctx: Any, coarse: Tensor, target: Tensor, pixel_weights: Tensor) -> Tensor:
        _, classes, height, width = coarse.shape
        rows = _interpolation(height, target.shape[1])  # (H, h)
        columns = _interpolation(width, target.shape[2])  # (W, w)
        band = max(1, BAND_ELEMENTS // (classes * target.shape[2]))
        total = coarse.new_zeros(())
        gradient = torch.empty_like(coarse, memory_format=torch.contiguous_format)
        for image, truth, weights, out in zip(coarse, target, pixel_weights, gradient, strict=True):
            wide = image @ columns.T  # (K, h, W)
            wide_gradient = torch.zeros_like(wide, memory_format=torch.contiguous_format)
            for top in range(0, target.shape[1], band):
                part = rows[top : top + band]
                used = part.any(dim=0).nonzero()
                first, last = int(used[0]), int(used[-1]) + 1
                part = part[:, first:last]
                scores = (part @ wide[:, first:last]).log_softmax(dim=0)  # (K, band, W)
                index, weight = truth[None, top : top + band], weights[None, top : top + band]
                total -= (scores.gather(0, index) * weight).sum()
                scores = scores.exp_().scatter_add_(0, index, scores.new_full(index.shape, -1.0)).mul_(weight)
                wide_gradient[:, first:last] += part.T @ scores
            torch.matmul(wide_gradient, columns, out=out)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0], None, None


def _interpolation(size: int, new_size: int) -> Tensor:
    """The matrix (new_size, size) of bilinear interpolation along one axis, half-pixel centres."""
    source = ((torch.arange(new_size) + 0.5) * size / new_size - 0.5).clamp_min(0)
    low = source.floor().long().clamp_max(size - 1)
    high = (low + 1).clamp_max(size - 1)
    share = (source - low).float()
    matrix = torch.zeros(new_size, size)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, high[:, None], share[:, None])
    return matrix
