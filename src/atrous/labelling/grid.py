"""Which pixels of the result lie in which cell of the coarse grid.

A cell has four neighbouring coarse positions as corners; the pixels inside it are those whose score is a mean of these
four. Both axes are cut on their own: a cell is a pair of segments.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atrous.labelling.plain import coordinates, factors

__all__ = ["Axis", "Scores", "axes", "axis", "checked", "scores_of"]


class Axis(NamedTuple):
    """One axis: what each pixel reads, and where the segments of pixels that read the same two positions begin."""

    low: NDArray[np.int32]  # (pixels,)
    high: NDArray[np.int32]  # (pixels,)
    weight: NDArray[np.float32]  # (pixels,), the share of `high`
    start: NDArray[np.int32]  # (segments + 1,): the first pixel of every segment, and the number of pixels

    @property
    def segments(self) -> int:
        """How many pairs of neighbouring positions are read at all."""
        return len(self.start) - 1

    @property
    def longest(self) -> int:
        """Pixels of the longest segment."""
        return int(np.diff(self.start).max())


class Scores(NamedTuple):
    """Coarse logits as the kernel reads them: logit (k, y, x) is values[k * strides[0] + y * strides[1] + x * strides[2]].

    One type for every memory layout, so that one compiled kernel serves them all.
    """

    values: NDArray[np.float32]
    strides: tuple[int, int, int]
    shape: tuple[int, int, int]  # K, h, w


def axes(
    coarse_size: tuple[int, int], size: tuple[int, int], *, align_corners: bool, cover: tuple[float, float]
) -> tuple[Axis, Axis]:
    """The rows' and the columns' axis, from (h, w) to (H, W); `cover` is what the image fills of the coarse map.

    Raises:
        ValueError: a cover that is no share.
    """
    if not all(0 < share <= 1 for share in cover):
        raise ValueError(f"cover is {cover}; expected the shares of the height and width that the image fills, up to 1")
    enlarged = factors(coarse_size, size, cover) or (None, None)
    rows = axis(coarse_size[0], size[0], align_corners, enlarged[0])
    return rows, axis(coarse_size[1], size[1], align_corners, enlarged[1])


@lru_cache(maxsize=64)
def axis(size: int, new_size: int, align_corners: bool, factor: float | None = None) -> Axis:
    """The axis from `size` coarse positions to `new_size` pixels; kept, as images of one size follow each other."""
    low, high, weight = coordinates(size, new_size, align_corners=align_corners, factor=factor)
    start = np.concatenate(([0], np.flatnonzero(np.diff(low)) + 1, [new_size])).astype(np.int32)
    for array in (low, high, weight, start):
        array.flags.writeable = False
    return Axis(low, high, weight, start)


def checked(coarse: Tensor, size: tuple[int, int]) -> Tensor:
    """The coarse logits as (K, h, w) float32 without gradient, on the device where they are.

    Raises:
        ValueError: another shape than (1, K, h, w), an empty one, or a size that is not positive.
    """
    if coarse.ndim != 4 or coarse.shape[0] != 1 or 0 in coarse.shape:
        raise ValueError(f"logits are of shape {tuple(coarse.shape)}; expected (1, classes, height, width)")
    if coarse.shape[1] >= 1 << 16:
        raise ValueError(f"logits have {coarse.shape[1]} classes; expected at most 65535, which a uint16 can count")
    if min(size) < 1:
        raise ValueError(f"size is {size}; expected a positive height and width")
    return coarse.detach()[0].float()


def scores_of(coarse: Tensor) -> Scores:
    """The coarse logits (K, h, w) float32 of any strides as one flat array of the same memory; a GPU's are fetched."""
    coarse = coarse.cpu()
    num_classes, height, width = coarse.shape
    along_classes, along_rows, along_columns = coarse.stride()
    extent = 1 + (num_classes - 1) * along_classes + (height - 1) * along_rows + (width - 1) * along_columns
    values = coarse.as_strided((extent,), (1,)).numpy()
    return Scores(values, (along_classes, along_rows, along_columns), (num_classes, height, width))
