"""From coarse logits to the label map without the scores in between.

Bilinear weights are a convex combination, so where one class wins at all four corners of a cell of the coarse grid, it
wins everywhere inside. Only cells whose corners disagree are scored, and there only the classes that can win. The proof
and the measurements are in docs/decisions/0031-labels-from-cells.md; the plain computation is in `plain`.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atrous.labelling import blocks
from atrous.labelling.grid import Axis, Scores, axes, checked, scores_of
from atrous.labelling.plain import WHOLE, LabelMap, label_type
from atrous.labelling.threads import spread

__all__ = ["first_read", "label_band", "label_map", "prepare", "rows_ready"]

KERNEL_SECONDS = (
    1.0  # what loading Numba and the kernel from its cache costs, about; six times that where it must compile
)


class _Kernel:
    """The compiled kernel, loaded once the work done without it has cost as much as loading it.

    So one image pays nothing, and a thousand images pay at most twice what they would have paid at best. Both ways give
    the same labels, bit for bit.
    """

    def __init__(self) -> None:
        self.seconds_without = 0.0
        self.paint_rows: Callable[..., None] | None = None
        self.missing = False

    def load(self) -> bool:
        """Import it; returns whether Numba is there."""
        try:
            from atrous.labelling.kernel import paint_rows
        except ImportError:
            self.missing = True
            return False
        self.paint_rows = paint_rows
        return True

    def due(self) -> bool:
        """Whether it is loaded, or is now, as that pays."""
        if self.paint_rows is not None:
            return True
        return not self.missing and self.seconds_without > KERNEL_SECONDS and self.load()

    def paint(self, scores: Scores, rows: Axis, columns: Axis, everywhere: bool, *, threads: int) -> LabelMap:
        """The label map, by the compiled kernel."""
        paint_rows = self.paint_rows
        assert paint_rows is not None
        labels = np.empty((len(rows.low), len(columns.low)), label_type(scores.shape[0]))
        fixed: tuple[Any, ...] = (tuple(scores), tuple(rows), tuple(columns), everywhere)

        def paint_part(first: int, last: int) -> None:
            try:
                paint_rows(*fixed, first, last, labels)
            except OSError:  # it is compiled, only its cache on disk could not be written
                paint_rows(*fixed, first, last, labels)

        spread(paint_part, rows.segments, threads=threads)
        return labels


_kernel = _Kernel()


def label_map(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> LabelMap:
    """The class with the highest score of every pixel, of logits resized bilinearly, without the resized logits.

    Equal to `argmax(interpolate(coarse, size))`, but for pixels where the two best classes are equal within float32
    rounding. Beside the result it needs a few rows of numbers with the compiled kernel; with NumPy alone as much again as
    the result at most, 16 bytes for each coarse position, and `blocks.BLOCK_BYTES`.

    Args:
        coarse: (1, K, h, w) float, finite, at the network's own stride, in any memory format; a GPU's are fetched.
        size: height and width of the result in pixels.
        align_corners: torch's setting of that name.
        cover: the share of the coarse map's height and width, from the top left, that the image fills.

    Returns:
        (H, W) uint8, uint16 above 256 classes; the lowest of equal classes.

    Raises:
        ValueError: another shape than (1, K, h, w), an empty one, a size that is not positive, a cover that is no share.
    """
    logits = checked(coarse, size)
    _, height, width = logits.shape
    rows, columns = axes((height, width), size, align_corners=align_corners, cover=cover)
    # With far fewer pixels than coarse positions, most positions are not read at all.
    everywhere = 2 * size[0] * size[1] < height * width * cover[0] * cover[1]
    if _kernel.due():
        return _kernel.paint(scores_of(logits), rows, columns, everywhere, threads=torch.get_num_threads())
    numbers = logits.cpu().numpy()  # waits for a GPU, so before the clock
    begin = time.perf_counter()
    labels = blocks.paint(numbers, rows, columns, everywhere=everywhere)
    _kernel.seconds_without += time.perf_counter() - begin
    return labels


def label_band(
    coarse: Tensor,
    rows: slice,
    size: tuple[int, int],
    *,
    first: int,
    coarse_height: int,
    cover: tuple[float, float] = WHOLE,
) -> LabelMap:
    """Some rows of `label_map`, from the rows of the coarse logits that they read.

    Args:
        coarse: (1, K, h', w): rows `first` to `first + h'` of logits of height `coarse_height`.
        rows: of the result, in pixels; `rows_ready` says which can be had.
        size: height and width of the whole result.
        first: the first coarse row's number.
        coarse_height: of the whole coarse map.
        cover: the share of the whole coarse map that the image fills.

    Returns:
        (rows, W) uint8, uint16 above 256 classes.
    """
    logits = checked(coarse, size)
    down, across = axes((coarse_height, logits.shape[2]), size, align_corners=False, cover=cover)
    low, high = down.low[rows] - np.int32(first), down.high[rows] - np.int32(first)
    start = np.concatenate(([0], np.flatnonzero(np.diff(low)) + 1, [len(low)])).astype(np.int32)
    part = Axis(low, high, down.weight[rows], start)
    everywhere = 2 * size[0] * size[1] < coarse_height * logits.shape[2] * cover[0] * cover[1]
    if _kernel.due():
        return _kernel.paint(scores_of(logits), part, across, everywhere, threads=torch.get_num_threads())
    numbers = logits.cpu().numpy()
    begin = time.perf_counter()
    labels = blocks.paint(numbers, part, across, everywhere=everywhere)
    _kernel.seconds_without += time.perf_counter() - begin
    return labels


def rows_ready(done: int, height: int, *, coarse_height: int, cover: float = 1.0) -> int:
    """How many rows of a result of `height` pixels read only the first `done` coarse rows."""
    read = _rows(height, coarse_height, cover).high
    return height if done >= coarse_height else int(np.searchsorted(read, done))


def first_read(row: int, height: int, *, coarse_height: int, cover: float = 1.0) -> int:
    """The first coarse row that the result's `row` and those below it read."""
    return int(_rows(height, coarse_height, cover).low[row]) if row < height else coarse_height


def _rows(height: int, coarse_height: int, cover: float) -> Axis:
    return axes((coarse_height, 1), (height, 1), align_corners=False, cover=(cover, 1.0))[0]


def prepare(num_classes: int = 21) -> bool:
    """Load the compiled kernel now rather than when it pays, as a server may before its first image.

    Returns:
        Whether it is there; without Numba (the extra `fast`) labels come from NumPy alone.
    """
    if not _kernel.load():
        return False
    label_map(torch.zeros(1, num_classes, 2, 2), (3, 3))
    return True
