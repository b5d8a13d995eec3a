"""Pixel losses of logits that are still small, without ever holding the enlarged ones.

The resized scores are made, used for loss and gradient, and dropped, a band of rows at a time: on a CPU they never leave
the cache, and memory does not grow with the mask. Every function here equals the plain computation (`pixels`) of
bilinearly resized logits, in value and gradient, within float tolerance.

Shape letters: N batch, K classes, H height, W width; h, w of the coarse logits.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from atrous.losses.pixels import pixel_losses, pixel_weights, safe_ratio

__all__ = ["interpolation", "resize", "resized_cross_entropy", "resized_pixel_losses", "resized_pixel_sum"]

BAND_ELEMENTS = 1 << 17  # scores of one band: 512 kB in float32, which stay in a core's second-level cache


def resized_cross_entropy(
    coarse: Tensor, mask: Tensor, *, ignore_index: int = 255, class_weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy of the logits (N, K, h, w) resized bilinearly to the mask (N, H, W) int64.

    Equal to `cross_entropy(interpolate(coarse, mask.shape[1:]), mask)`.
    """
    weights = pixel_weights(mask, ignore_index=ignore_index, class_weights=class_weights)
    return safe_ratio(resized_pixel_sum(coarse, mask, weights, ignore_index=ignore_index), weights.sum())


def resized_pixel_sum(
    coarse: Tensor,
    mask: Tensor,
    weights: Tensor,
    *,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
) -> Tensor:
    """The sum of `weights` times `pixel_losses`, of the logits resized bilinearly to the mask.

    Args:
        coarse: (N, K, h, w) float, at the network's own stride.
        mask: (N, H, W) int64.
        weights: (N, H, W) float32, 0 for void.
        ignore_index: the value of void.
        label_smoothing: see `pixel_losses`.
        gamma: see `pixel_losses`.
    """
    options = {"label_smoothing": label_smoothing, "gamma": gamma}
    if coarse.device.type != "cpu":  # many small kernels do not pay on a GPU
        return (
            pixel_losses(resize(coarse, mask.shape[-2:]), mask, ignore_index=ignore_index, **options) * weights
        ).sum()
    target = mask.masked_fill(mask == ignore_index, 0)
    with torch.autocast("cpu", enabled=False):  # a loss is float32, also where the network is not
        total = _BandedSum.apply(coarse.float(), target, weights, label_smoothing, gamma)
    assert isinstance(total, Tensor)
    return total


@torch.no_grad()
def resized_pixel_losses(
    coarse: Tensor,
    mask: Tensor,
    *,
    ignore_index: int = 255,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
    cover: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """`pixel_losses` (N, H, W) of the logits (N, K, h, w) resized to the mask (N, H, W); without gradient.

    `cover` is the share of the logits' height and width, from the top left, that lies over the mask.
    """
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "gamma": gamma}
    if coarse.device.type != "cpu" and cover == (1.0, 1.0):
        return pixel_losses(resize(coarse, mask.shape[-2:]), mask, **options)
    coarse, mask = coarse.cpu(), mask.cpu()
    losses = torch.empty(mask.shape)
    for image, truth, out in zip(coarse.float(), mask, losses, strict=True):
        for band in _Bands(image, truth.shape, cover):
            out[band.rows] = pixel_losses(band.logits()[None], truth[band.rows][None], **options)[0]
    return losses


def resize(coarse: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """The whole volume (N, K, H, W) of logits resized bilinearly (half-pixel centres): the plain computation."""
    return functional.interpolate(coarse.float(), size=tuple(size), mode="bilinear", align_corners=False)


class _Band:
    """Some rows of the resized logits of one image."""

    def __init__(self, wide: Tensor, matrix: Tensor, rows: slice) -> None:
        self.rows = rows
        used = matrix.any(dim=0).nonzero()
        self.source = slice(int(used[0]), int(used[-1]) + 1)  # rows of the coarse map that these rows come from
        self.matrix = matrix[:, self.source]
        self._wide = wide

    def logits(self) -> Tensor:
        """(K, rows, W)."""
        return self.matrix @ self._wide[:, self.source]


class _Bands:
    """The logits (K, h, w) of one image, resized to `size` (height, width) a band of rows at a time."""

    def __init__(self, coarse: Tensor, size: torch.Size, cover: tuple[float, float] = (1.0, 1.0)) -> None:
        classes, height, width = coarse.shape
        self._rows = interpolation(height, size[0], cover[0])  # (H, h)
        self.columns = interpolation(width, size[1], cover[1])  # (W, w)
        self._wide = coarse @ self.columns.T  # (K, h, W)
        self._step = max(1, BAND_ELEMENTS // (classes * size[1]))

    def __iter__(self) -> Iterator[_Band]:
        for top in range(0, len(self._rows), self._step):
            rows = slice(top, top + self._step)
            yield _Band(self._wide, self._rows[rows], rows)

    def zeros(self) -> Tensor:
        """Room for the gradient of what is resized along the width alone: (K, h, W)."""
        return torch.zeros_like(self._wide, memory_format=torch.contiguous_format)


class _BandedSum(torch.autograd.Function):
    """The weighted sum of pixel losses of bilinearly resized logits; the gradient is made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any, coarse: Tensor, target: Tensor, weights: Tensor, label_smoothing: float, gamma: float
    ) -> Tensor:
        total = coarse.new_zeros(())
        gradient = torch.empty_like(coarse, memory_format=torch.contiguous_format)
        for image, truth, weight, out in zip(coarse, target, weights, gradient, strict=True):
            bands = _Bands(image, truth.shape)
            wide_gradient = bands.zeros()
            for band in bands:
                index, share = truth[None, band.rows], weight[None, band.rows]
                value, scores = _loss_and_gradient(band.logits(), index, share, label_smoothing, gamma)
                total += value
                wide_gradient[:, band.source] += band.matrix.T @ scores
            torch.matmul(wide_gradient, bands.columns, out=out)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad_outputs[0], None, None, None, None


def _loss_and_gradient(
    logits: Tensor, index: Tensor, weight: Tensor, smoothing: float, gamma: float
) -> tuple[Tensor, Tensor]:
    """The loss of one band and its gradient (K, rows, W), of logits (K, rows, W), true classes and weights (1, rows, W).

    With p the scores and q the target, cross entropy's gradient is p - q. The focal factor f = (1 - p_t)^gamma adds
    its own derivative, loss * df/dp_t * p_t * (onehot - p).
    """
    scores = logits.log_softmax(dim=0)
    true = scores.gather(0, index)
    losses = -(1 - smoothing) * true
    if smoothing:
        losses -= smoothing * scores.mean(dim=0, keepdim=True)
    factor, slope = weight, 0.0
    if gamma:
        p = true.exp()
        rest = (1 - p).clamp_min(0)
        factor = weight * rest**gamma
        slope = weight * losses * gamma * p * rest ** (gamma - 1)
    gradient = scores.exp_().mul_(factor + slope)
    gradient.scatter_add_(0, index, -(1 - smoothing) * factor - slope)
    if smoothing:
        gradient -= factor * (smoothing / len(logits))
    return (losses * factor).sum(), gradient


def interpolation(size: int, new_size: int, cover: float = 1.0) -> Tensor:
    """The matrix (new_size, size) of bilinear interpolation along one axis, half-pixel centres.

    The new places lie over the first `cover` of the old ones.
    """
    source = ((torch.arange(new_size) + 0.5) * size * cover / new_size - 0.5).clamp_min(0)
    low = source.floor().long().clamp_max(size - 1)
    high = (low + 1).clamp_max(size - 1)
    share = (source - low).float()
    matrix = torch.zeros(new_size, size)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, high[:, None], share[:, None])
    return matrix
