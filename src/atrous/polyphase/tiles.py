"""How a map of one size is cut into tiles, and which products each tile needs."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atrous.polyphase.transforms import SCHEMES, Scheme

__all__ = ["Tiling", "pieces", "tile_map"]


@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of a map of one size, sorted so that neighbours in the list need the same products.

    Attributes:
        tops, lefts: (tiles,) int32, row and column of the tile's first input; -rate where it lies in the padding.
        rows, columns: (tiles,) int32, how many of the tile's outputs count along each axis.
        needed: (points of the vertical scheme * points of the horizontal one, tiles) bool. A product that is not
            needed may be taken as zero: its input is zero, or no output that counts depends on it.
    """

    tops: np.ndarray
    lefts: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    needed: np.ndarray

    def __len__(self) -> int:
        """How many tiles there are."""
        return len(self.tops)


def pieces(length: int, rate: int, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Cut an axis of `length` values into tiles: (first input, number of outputs), an entry per tile.

    The values at p, p + rate, p + 2 rate, ... make a line of their own, one for each p below `rate` (polyphase
    components). A line that is no multiple of the tile is cut into as many tiles of one less than the full size as
    possible, because these need one product less: the one at infinity.
    """
    starts: list[int] = []
    counts: list[int] = []
    for phase in range(min(rate, length)):
        values = -(-(length - phase) // rate)
        tiles = -(-values // scheme.outputs)
        short = tiles * scheme.outputs - values
        sizes = [scheme.outputs - 1] * min(short, tiles) + [scheme.outputs] * max(tiles - short, 0)
        sizes[0] -= max(short - tiles, 0)
        first = 0
        for size in sizes:
            starts.append(phase + (first - scheme.overlap) * rate)
            counts.append(size)
            first += size
    return np.array(starts, dtype=np.int32), np.array(counts, dtype=np.int32)


def _needed(scheme: Scheme, counts: np.ndarray) -> np.ndarray:
    """(points, tiles): whether a product matters in a tile with that many outputs."""
    needed = np.ones((scheme.points, len(counts)), dtype=bool)
    for count in np.unique(counts):
        matters = np.any(scheme.output[:count] != 0, axis=0)
        if not scheme.overlap:  # the values behind the line's end are zeros
            matters &= np.any(scheme.input[:, :count] != 0, axis=1)
        needed[:, counts == count] = matters[:, None]
    return needed


@lru_cache(maxsize=64)
def tile_map(height: int, width: int, rate: int, vertical: str, horizontal: str) -> Tiling:
    """The tiles of a (height, width) map for a convolution at `rate`, with the named schemes along y and x."""
    tops, rows = pieces(height, rate, SCHEMES[vertical])
    lefts, columns = pieces(width, rate, SCHEMES[horizontal])
    across = len(lefts)
    needed_y = np.repeat(_needed(SCHEMES[vertical], rows), across, axis=1)
    needed_x = np.tile(_needed(SCHEMES[horizontal], columns), len(tops))
    rows, columns = np.repeat(rows, across), np.tile(columns, len(tops))
    order = np.lexsort((columns, rows))
    needed = needed_y[:, None, order] & needed_x[None, :, order]
    return Tiling(
        tops=np.repeat(tops, across)[order],
        lefts=np.tile(lefts, len(tops))[order],
        rows=rows[order],
        columns=columns[order],
        needed=needed.reshape(-1, len(order)),
    )
