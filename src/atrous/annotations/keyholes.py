"""Polygons with holes as one ring, for forms that know no holes.

From the top of every hole a slit leads straight up to the ring above it, and the ring is followed around the hole and back
through the slit. The slit has no width, so that the area stays the same, and filling the ring by the even-odd rule (or by
the winding number) gives the region back.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["cut_open"]

Ring = NDArray[np.integer]  # (n, 2): x, y; closed
Point = list[float]


def cut_open(rings: Sequence[Ring]) -> list[Point]:
    """The points (x, y) of one ring, not closed, that surrounds what an outer ring and its holes surround."""
    if len(rings) == 1:
        return rings[0][:-1].tolist()
    order = [0, *sorted(range(1, len(rings)), key=lambda number: int(rings[number][:, 1].min()))]
    edges = _Edges([rings[number] for number in order])
    # For every ring what is cut open at its edges: edge -> (how far along it, where, the hole and its point).
    cuts: list[dict[int, list[tuple[float, Point, int, int]]]] = [{} for _ in order]
    for hole in range(1, len(order)):
        ring = rings[order[hole]]
        top = int(np.lexsort((ring[:-1, 0], ring[:-1, 1]))[0])
        owner, edge, y = edges.above(hole, int(ring[top, 0]), int(ring[top, 1]))
        place: Point = [int(ring[top, 0]), y]
        start = rings[order[owner]][edge]
        far = float(abs(start[0] - place[0]) + abs(start[1] - place[1]))
        cuts[owner].setdefault(edge, []).append((far, place, hole, top))
    return _follow([rings[number].tolist() for number in order], cuts)


class _Edges:
    """The edges of rings by the columns of the lattice that they reach over."""

    def __init__(self, rings: Sequence[Ring]) -> None:
        parts = [(number, ring[:-1], ring[1:]) for number, ring in enumerate(rings)]
        self._owner = np.concatenate([np.full(len(start), number) for number, start, _ in parts])
        self._index = np.concatenate([np.arange(len(start)) for _, start, _ in parts])
        self._start = np.concatenate([start for _, start, _ in parts]).astype(np.int64)
        self._end = np.concatenate([end for _, _, end in parts]).astype(np.int64)
        left = np.minimum(self._start[:, 0], self._end[:, 0])
        width = np.abs(self._start[:, 0] - self._end[:, 0]) + 1
        edge = np.repeat(np.arange(width.size), width)
        column = left[edge] + np.arange(edge.size) - np.repeat(np.cumsum(width) - width, width)
        order = np.argsort(column, kind="stable")
        self._column, self._edge = column[order], edge[order]

    def above(self, hole: int, x: int, y: int) -> tuple[int, int, float]:
        """The nearest edge of the rings before `hole` straight above (x, y), or through it: its ring, its number, and y.

        A ring that lies above begins above: it comes before the hole when rings are sorted by their tops.
        """
        first, last = np.searchsorted(self._column, (x, x + 1))
        edges = self._edge[first:last]
        edges = edges[self._owner[edges] < hole]
        (x0, y0), (x1, y1) = self._start[edges].T, self._end[edges].T
        across = np.where(x0 == x1, 1, x1 - x0)
        lower, upper = np.maximum(y0, y1), np.minimum(y0, y1)
        of_upright = np.where(lower <= y, lower, upper)
        at = np.where(x0 == x1, of_upright, y0 + (y1 - y0) * (x - x0) / across)
        at[at > y] = -1  # below
        nearest = int(np.argmax(at))
        edge, height = edges[nearest], float(at[nearest])
        return int(self._owner[edge]), int(self._index[edge]), int(height) if height.is_integer() else height


def _follow(rings: list[list[Point]], cuts: list[dict[int, list[tuple[float, Point, int, int]]]]) -> list[Point]:
    """The points of the first ring, with a way around each hole at its cut."""
    found: list[Point] = []
    # What is still to be gone through, the next thing last: points, or (ring, first edge, edges left).
    rest: list[Point | tuple[int, int, int]] = [(0, 0, len(rings[0]) - 1)]
    while rest:
        step = rest.pop()
        if isinstance(step, list):
            if not found or found[-1] != step:
                found.append(step)
            continue
        number, edge, left = step
        ring, count = rings[number], len(rings[number]) - 1
        if left > 1:
            rest.append((number, (edge + 1) % count, left - 1))
        for _, place, hole, top in sorted(cuts[number].get(edge, []), reverse=True):
            rest += [place, rings[hole][top], (hole, top, len(rings[hole]) - 1), place]
        rest.append(ring[edge])
    return found if found[-1] != found[0] else found[:-1]
