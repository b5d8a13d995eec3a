"""Connected components of every value of a map at once, by its runs: stretches of one value along a row.

A segmentation has few runs beside its pixels (1 in 50 to 1 in 500), so what is joined and summed is small. Two runs are
joined where they lie above each other with the same value; pixels that only touch at a corner are not connected.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Runs", "find_runs"]


class Runs(NamedTuple):
    """R runs of C components. Components are numbered from 0 in the order of their first pixels, row by row."""

    starts: NDArray[np.int64]  # (R,) place of each run's first pixel in the flattened map
    lengths: NDArray[np.int64]  # (R,) pixels
    component: NDArray[np.int32]  # (R,)
    values: NDArray[np.integer]  # (C,) the value that a component's pixels have
    first: NDArray[np.int64]  # (C,) a component's first run


def find_runs(values: NDArray[np.integer]) -> Runs:
    """The runs of a map (H, W), with the connected components that they form."""
    width = values.shape[1]
    begins = np.ones(values.shape, np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    value = values.reshape(-1)[starts]
    # Going along two rows, another pair of runs meets exactly where one of the two begins.
    meets = np.flatnonzero(begins[:-1] | begins[1:])
    del begins
    upper = (np.searchsorted(starts, meets, "right") - 1).astype(np.int32)
    lower = (np.searchsorted(starts, meets + width, "right") - 1).astype(np.int32)
    same = value[upper] == value[lower]
    root = _roots(starts.size, upper[same], lower[same])
    first = np.flatnonzero(root == np.arange(root.size))
    number = np.zeros(root.size, np.int32)
    number[first] = np.arange(first.size)
    return Runs(starts, np.diff(starts, append=values.size), number[root], value[first], first)


def _roots(count: int, one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int32]:
    """For `count` things that are joined in pairs: of each the first that it is connected with.

    Every round hooks each tree to a neighbour with a smaller root and flattens the trees; the number of trees that
    still have neighbours at least halves.
    """
    root = np.arange(count, dtype=np.int32)
    while one.size:
        left, right = root[one], root[other]
        apart = left != right
        one, other, left, right = one[apart], other[apart], left[apart], right[apart]
        np.minimum.at(root, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(shorter := root[root], root):
            root = shorter
    return root
