"""Every class's score at every pixel, a tile at a time: for what the corners of a cell cannot tell.

A tile's numbers stay in a core's cache. They lie as (columns, K, rows): classes are compared and summed along long rows
of memory, and columns are picked in whole pieces.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from atrous.labelling.grid import Axis
from atrous.labelling.plain import LabelMap, label_type

__all__ = ["TILE_ELEMENTS", "Tile", "best_of", "tile_scores", "tiles_of"]

TILE_ELEMENTS = 1 << 17  # scores of one tile: 512 kB in float32; at most five arrays of that size are alive at a time
TILE_ROWS, TILE_COLUMNS = 256, 8  # at most and at least, where the classes allow: long rows, yet several columns
ONE = np.float32(1)

FloatArray = NDArray[np.float32]


class Tile(NamedTuple):
    """A rectangle of pixels."""

    rows: slice
    columns: slice


def tiles_of(size: tuple[int, int], num_classes: int) -> list[Tile]:
    """Tiles that cover `size` (height, width), each of at most `TILE_ELEMENTS` scores."""
    height = max(1, min(TILE_ROWS, size[0], TILE_ELEMENTS // (num_classes * TILE_COLUMNS)))
    width = max(1, min(size[1], TILE_ELEMENTS // (num_classes * height)))
    return [
        Tile(slice(top, min(top + height, size[0])), slice(left, min(left + width, size[1])))
        for top in range(0, size[0], height)
        for left in range(0, size[1], width)
    ]


def tile_scores(coarse: FloatArray, rows: Axis, columns: Axis, tile: Tile) -> FloatArray:
    """The scores of a tile, (columns, K, rows) float32, of coarse logits (K, h, w)."""
    used_rows, above, below = _used(rows, tile.rows)
    used_columns, left, right = _used(columns, tile.columns)
    if isinstance(used_rows, slice):
        block = coarse[:, used_rows][:, :, used_columns]
    elif isinstance(used_columns, slice):
        block = coarse[:, :, used_columns][:, used_rows]
    else:
        block = coarse[:, used_rows[:, None], used_columns]
    block = block.transpose(2, 0, 1)  # (w', K, h')
    down = rows.weight[tile.rows]
    scores = np.take(block, above, axis=2)  # (w', K, rows)
    scores *= ONE - down
    low_side = np.take(block, below, axis=2)
    low_side *= down
    scores += low_side
    del low_side
    over = columns.weight[tile.columns, None, None]
    enlarged = np.take(scores, left, axis=0)
    enlarged *= ONE - over
    far = np.take(scores, right, axis=0)
    far *= over
    enlarged += far
    return enlarged


def best_of(scores: FloatArray) -> tuple[FloatArray, LabelMap]:
    """The highest of the scores (columns, K, rows), and the first class that has it: both (rows, columns)."""
    num_classes = scores.shape[1]
    highest = scores.max(axis=1)
    # The first of equal classes has the highest rank: whole-array steps, where argmax goes number by number.
    ranks = np.arange(num_classes, 0, -1).astype(np.uint8 if num_classes < 256 else np.uint16)
    best = num_classes - ((scores == highest[:, None]) * ranks[:, None]).max(axis=1).astype(np.int32)
    return highest.T, best.astype(label_type(num_classes)).T


def _used(axis: Axis, pixels: slice) -> tuple[slice | NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The coarse positions that some pixels read, and where each pixel's lower and upper one are among them."""
    low, high = axis.low[pixels], axis.high[pixels]
    if high[-1] - low[0] < 2 * len(low):
        return slice(low[0], high[-1] + 1), low - low[0], high - low[0]
    used = np.unique(np.concatenate((low, high)))
    return used, np.searchsorted(used, low).astype(np.int32), np.searchsorted(used, high).astype(np.int32)
