"""Masks as lengths of runs, straight from the rings along the pixel edges; no mask is drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["compress", "run_lengths"]

Ring = NDArray[np.integer]  # (n, 2): x, y; closed


def run_lengths(rings: Sequence[Ring], box: tuple[int, int, int, int], *, by_column: bool) -> NDArray[np.int64]:
    """The lengths of runs outside and inside of a region in turn, beginning outside (0 where it begins inside).

    Going down a column, one enters or leaves the region at each level edge; going along a row, at each upright one.

    Args:
        rings: the exact rings of the region.
        box: (top, left, bottom, right), half-open: what is gone through.
        by_column: column after column (COCO), else row after row (CVAT).
    """
    top, left, bottom, right = box
    edges = np.concatenate([np.column_stack([ring[:-1], ring[1:]]) for ring in rings]).astype(np.int64)
    x0, y0, x1, y1 = (edges - (left, top, left, top)).T
    crossed = y0 == y1 if by_column else x0 == x1
    line, other, along = (places[crossed] for places in ((x0, x1, y0) if by_column else (y0, y1, x0)))
    length = bottom - top if by_column else right - left
    first, counts = np.minimum(line, other), np.abs(line - other)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    crossings = (np.repeat(first, counts) + step) * length + np.repeat(along, counts)
    # Where a region reaches from the end of one line into the next, it is left and entered at the same place.
    places, times = np.unique(crossings, return_counts=True)
    total = (bottom - top) * (right - left)
    lengths = np.diff(places[times == 1], prepend=0, append=total)
    return lengths if lengths[-1] else lengths[:-1]


def compress(lengths: NDArray[np.int64]) -> str:
    """COCO's text for run lengths: from the fourth on differences to the last but one; 5 bits a character, from 0."""
    signs: list[str] = []
    values = lengths.copy()
    values[3:] -= lengths[1:-2]
    for value in values.tolist():
        while True:
            bits = value & 31
            value >>= 5
            if value == (-1 if bits & 16 else 0):
                signs.append(chr(48 + bits))
                break
            signs.append(chr(48 + 32 + bits))
    return "".join(signs)
