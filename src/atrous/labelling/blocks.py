"""The same labels with NumPy alone: many cells at a time, each block of numbers small enough for a core's cache.

Without Numba, and before Numba has been loaded. On one thread: NumPy's steps are so short here that handing over the
interpreter's lock takes as long, and two threads gained nothing. The sums are made in the order of `kernel`, so both
give the same labels bit for bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from atrous.labelling.grid import Axis
from atrous.labelling.plain import LabelMap, label_type
from atrous.labelling.tiles import Tile, best_of, tile_scores, tiles_of

__all__ = ["paint"]

PIXEL_ELEMENTS = 1 << 16  # scores of one class at the pixels of a block of cells: 256 kB, in a core's cache
CORNER_ELEMENTS = 1 << 20  # scores of all classes at the corners of a block of cells: 4 MB
BLOCK_BYTES = 16 << 20  # what a block needs at most, with copies and comparisons of its corners
FEW_PIXELS = 8  # in smaller cells it costs more to find the candidates than to score every class
ROUNDING = np.float32(1e-6)  # relative; the scores of a pixel are off by at most a quarter of it
ONE = np.float32(1)

# Nanoseconds, roughly, on a server's core; they choose between two ways to the same labels.
CELL_AND_CLASS, CELL_PIXEL_AND_CANDIDATE, PIXEL_AND_CLASS = 60, 5, 3

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.signedinteger]


class Cells(NamedTuple):
    """Cells whose corners disagree: positions of their corners, and their pixels."""

    above: IndexArray  # (n,) coarse rows and columns of the corners
    below: IndexArray
    left: IndexArray
    right: IndexArray
    row: IndexArray  # (n,) the segments of both axes that meet in the cell
    column: IndexArray

    def part(self, chosen: slice | IndexArray) -> "Cells":
        """Some of the cells."""
        return Cells(*(field[chosen] for field in self))

    def at_corners(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values (..., h, w) at the corners, (4, ..., n)."""
        corners = ((y, x) for y in (self.above, self.below) for x in (self.left, self.right))
        return np.stack([values[..., y, x] for y, x in corners])


def paint(coarse: FloatArray, rows: Axis, columns: Axis, *, everywhere: bool) -> LabelMap:
    """The label map (H, W) of coarse logits (K, h, w): the corners' class where they agree, else the best at the pixel.

    With `everywhere` the corners are not looked at, for results smaller than the coarse grid.
    """
    num_classes = coarse.shape[0]
    if everywhere:
        label_map = np.empty((len(rows.low), len(columns.low)), label_type(num_classes))
        _paint_tiles(coarse, rows, columns, label_map, disagree=None)
        return label_map
    winners = find_winners(coarse)
    label_map, disagree = _fill(winners, rows, columns)
    where = np.flatnonzero(disagree)
    count = len(where)
    if count == 0:
        return label_map
    pixels = rows.longest * columns.longest
    limit = label_map.size * num_classes * PIXEL_AND_CLASS
    cost = _cost_of_cells(count, num_classes, pixels, candidates=num_classes)
    if cost > limit and pixels > FEW_PIXELS:
        sample = _cells(where[:: -(-count // 64)], rows, columns)
        kept = _can_win(sample.at_corners(coarse), sample.at_corners(winners))
        cost = _cost_of_cells(count, num_classes, pixels, candidates=float(kept.sum(axis=0).mean()))
    if cost > limit or pixels > PIXEL_ELEMENTS:
        _paint_tiles(coarse, rows, columns, label_map, disagree=disagree)
        return label_map
    block = max(1, CORNER_ELEMENTS // (4 * num_classes))
    for first in range(0, count, block):
        part = _cells(where[first : first + block], rows, columns)
        _paint_cells(coarse, winners, part, rows, columns, label_map)
    return label_map


def find_winners(coarse: FloatArray) -> LabelMap:
    """The best class of every coarse position: (h, w), of (K, h, w)."""
    num_classes, height, width = coarse.shape
    if coarse.strides[0] == coarse.itemsize:
        by_position = coarse.transpose(1, 2, 0)  # classes side by side, where NumPy compares several at a time
        return by_position.argmax(axis=2).astype(label_type(num_classes))
    winners = np.zeros((height, width), label_type(num_classes))
    highest = coarse[0].copy()
    for k in range(1, num_classes):
        np.maximum(winners, (coarse[k] > highest) * winners.dtype.type(k), out=winners)  # k is above all before it
        np.maximum(highest, coarse[k], out=highest)
    return winners


def _fill(winners: LabelMap, rows: Axis, columns: Axis) -> tuple[LabelMap, NDArray[np.bool_]]:
    """Every pixel with the class of its cell's first corner, and whether a cell's corners disagree (rows, columns)."""
    first_row, first_column = rows.start[:-1], columns.start[:-1]
    above, below = rows.low[first_row], rows.high[first_row]
    left, right = columns.low[first_column], columns.high[first_column]
    west, east = winners[:, left], winners[:, right]
    disagree = (west != east)[above] | (west != east)[below] | (west[above] != west[below])
    label_map = np.repeat(winners[:, columns.low][above], np.diff(rows.start), axis=0)
    return label_map, disagree


def _cells(where: IndexArray, rows: Axis, columns: Axis) -> Cells:
    """Cells by their number, counted row by row."""
    row, column = np.divmod(where, columns.segments)
    y, x = rows.start[row], columns.start[column]
    return Cells(rows.low[y], rows.high[y], columns.low[x], columns.high[x], row, column)


def _cost_of_cells(count: int, num_classes: int, pixels: int, *, candidates: float) -> float:
    """What painting so many cells of so many pixels takes, in nanoseconds."""
    finding = 0 if pixels <= FEW_PIXELS else num_classes * CELL_AND_CLASS
    return count * (finding + pixels * candidates * CELL_PIXEL_AND_CANDIDATE)


def _paint_tiles(
    coarse: FloatArray,
    rows: Axis,
    columns: Axis,
    label_map: LabelMap,
    *,
    disagree: NDArray[np.bool_] | None,
) -> None:
    """Score every class at every pixel, and write the best where the corners disagree, or everywhere."""
    for tile in tiles_of(label_map.shape, coarse.shape[0]):
        _, best = best_of(tile_scores(coarse, rows, columns, tile))
        here = label_map[tile.rows, tile.columns]
        np.copyto(here, best, where=True if disagree is None else _pixels_where(disagree, rows, columns, tile))


def _pixels_where(disagree: NDArray[np.bool_], rows: Axis, columns: Axis, tile: Tile) -> NDArray[np.bool_]:
    """Whether the corners of a pixel's cell disagree, (rows, columns) of a tile."""
    row = np.searchsorted(rows.start, np.arange(tile.rows.start, tile.rows.stop), side="right") - 1
    column = np.searchsorted(columns.start, np.arange(tile.columns.start, tile.columns.stop), side="right") - 1
    return disagree[row[:, None], column]


def _paint_cells(
    coarse: FloatArray, winners: LabelMap, cells: Cells, rows: Axis, columns: Axis, label_map: LabelMap
) -> None:
    """Paint a block of cells, those with as many candidates together."""
    corners = cells.at_corners(coarse)  # (4, K, n)
    pixels = rows.longest * columns.longest
    most_cells = max(1, PIXEL_ELEMENTS // pixels)
    if pixels <= FEW_PIXELS:
        every_class = np.arange(coarse.shape[0])[:, None]
        for first in range(0, len(cells.row), most_cells):
            some = slice(first, first + most_cells)
            _paint_candidates(corners[:, :, some], every_class, cells.part(some), rows, columns, label_map)
        return
    kept = _can_win(corners, cells.at_corners(winners))  # (K, n)
    counts = kept.sum(axis=0)
    order = np.argsort(counts, kind="stable")
    counts = counts[order]
    first = 0
    while first < len(order):
        # One run for 2 candidates, one for 3, and so on; of many, a third more are scored rather than one more run made.
        enough = counts[first] + counts[first] // 3
        if (len(order) - first) * pixels * counts[-1] <= PIXEL_ELEMENTS:
            enough = counts[-1]
        last = min(int(np.searchsorted(counts, enough, side="right")), first + most_cells)
        chosen = order[first:last]
        candidates = np.argsort(~kept[:, chosen], axis=0, kind="stable")[: counts[last - 1]]  # (c, n), ascending
        scores = np.take_along_axis(corners[:, :, chosen], candidates[None], axis=1)  # (4, c, n)
        _paint_candidates(scores, candidates, cells.part(chosen), rows, columns, label_map)
        first = last


def _can_win(corners: FloatArray, winners: LabelMap) -> NDArray[np.bool_]:
    """Whether a class (K, n) can win somewhere in the cell.

    A class that is below one winner at all four corners is below it everywhere inside; so is one that is below the mean
    of the winners, as the best of them is never below their mean.
    """
    rivals = np.take_along_axis(corners, winners[None].astype(np.intp), axis=1)  # (corner, winner, n)
    slack = np.abs(rivals).max(axis=(0, 1)) * ROUNDING
    bars = np.concatenate([rivals, rivals.mean(axis=1, keepdims=True)], axis=1) - slack
    kept = np.ones(corners.shape[1:], np.bool_)
    for i in range(bars.shape[1]):
        kept &= (corners >= bars[:, i, None]).any(axis=0)
    return kept


def _paint_candidates(
    scores: FloatArray, candidates: IndexArray, cells: Cells, rows: Axis, columns: Axis, label_map: LabelMap
) -> None:
    """Score candidates at the pixels of n cells, and write the best.

    `scores` (4, c, n) are those at the corners, `candidates` (c, n), or (c, 1) where all cells have the same. Shorter
    cells repeat their last pixel, so all have one shape; cells lie innermost, so loops are long.
    """
    pixel_rows = _pixels(rows, cells.row)  # (height, n)
    pixel_columns = _pixels(columns, cells.column)  # (width, n)
    down = rows.weight[pixel_rows]
    up = ONE - down
    over = columns.weight[pixel_columns]
    back = ONE - over
    classes = candidates.astype(label_map.dtype)

    def scores_of(k: int) -> FloatArray:
        first = up * scores[0, k] + down * scores[2, k]
        last = up * scores[1, k] + down * scores[3, k]
        enlarged = back * first[:, None]
        enlarged += over * last[:, None]
        return enlarged  # (height, width, n)

    best = scores_of(0)
    best_class = np.broadcast_to(classes[0], best.shape).copy()
    for k in range(1, len(candidates)):
        score = scores_of(k)
        # Classes come in order, so a better one is also the larger number: faster than a masked copy.
        np.maximum(best_class, (score > best) * classes[k], out=best_class)
        np.maximum(best, score, out=best)
    label_map[pixel_rows[:, None], pixel_columns] = best_class


def _pixels(axis: Axis, segments: IndexArray) -> IndexArray:
    """The pixels of segments, one below the other: (longest, n)."""
    places = np.arange(axis.longest)[:, None]
    return np.minimum(axis.start[segments] + places, axis.start[segments + 1] - 1)
