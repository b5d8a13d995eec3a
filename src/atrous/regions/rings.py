"""The borders of numbered regions as closed rings along the pixel edges."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rings", "trace_rings"]


class Rings(NamedTuple):
    """Closed rings, the outer one of each region first, then its holes. The first point stands at the end again.

    The outer ring has a positive shoelace sum over (x, y), holes a negative one.
    """

    points: NDArray[np.int32]  # (P, 2): x, y in pixels from the top left corner of the picture
    begins: NDArray[np.int64]  # (N + 1,) where each ring begins, and P
    owner: NDArray[np.int32]  # (N,) the region of each ring, from 0, ascending

    def of_regions(self, count: int) -> list[tuple[NDArray[np.int32], ...]]:
        """For each of `count` regions its rings, (n, 2) each."""
        places = self.begins.tolist()
        rings = [self.points[begin:end] for begin, end in pairwise(places)]
        bounds = np.searchsorted(self.owner, np.arange(count + 1)).tolist()
        return [tuple(rings[begin:end]) for begin, end in pairwise(bounds)]


def trace_rings(canvas: NDArray[np.int32]) -> Rings:
    """The rings of all regions of a map with a border of 0; they are numbered from 1, and 0 is no region.

    Rings follow the pixel edges, so that the area of a region's outer ring less its holes is the number of its pixels.
    (cv2.findContours runs through pixel centres and is 1.6 % short.) No ring touches itself; no point lies on a
    straight line.
    """
    corners = _corners(canvas)
    if not corners.region.size:
        return Rings(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32))
    level = _partners(corners.region, corners.y, corners.x, corners.level_tie)
    upright = _partners(corners.region, corners.x, corners.y, corners.upright_tie)
    order, begins = _walk(level, upright)
    points = np.column_stack([corners.x[order], corners.y[order]])
    owner = corners.region[order[begins]] - 1
    by_owner = np.argsort(owner, kind="stable")
    first = np.ones(owner.size, np.bool_)
    first[1:] = np.diff(owner[by_owner]) > 0
    outer = np.empty_like(first)
    outer[by_owner] = first
    ends = np.append(begins[1:], order.size)
    backwards = (_areas(points, begins) > 0) != outer
    pick, at = _closed(begins, ends, backwards, by_owner)
    return Rings(points[pick], at, owner[by_owner])


class _Corners(NamedTuple):
    """Where borders turn, from the top down, and in a row from the left: the first one of a region is on its outer ring.

    A tie says, where two corners of a region lie at one point, which of the two comes first along the row (0: its edge
    runs left) and along the column (0: its edge runs up).
    """

    region: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    level_tie: NDArray[np.bool_]
    upright_tie: NDArray[np.bool_]


def _corners(canvas: NDArray[np.int32]) -> _Corners:
    """The corners of all regions.

    Each lattice point lies between four pixels. A pixel's own region turns there if both of its neighbours across the
    point's two lines are of another region (a convex corner), or both are of its own but the one opposite is not (a
    concave one). Where two pixels of a region meet only at the point, both count; their ties are set so that a ring goes
    around the pixels between the two, one by one. Then no ring touches itself.
    """
    a, b, c, d = canvas[:-1, :-1], canvas[:-1, 1:], canvas[1:, :-1], canvas[1:, 1:]
    places: list[NDArray[np.int64]] = []
    regions: list[NDArray[np.int32]] = []
    for own, beside, across, opposite in ((a, b, c, d), (b, a, d, c), (c, d, a, b), (d, c, b, a)):
        level, upright = own == beside, own == across
        turns = (level == upright) & ~(level & (own == opposite)) & (own > 0)
        places.append(np.flatnonzero(turns))
        regions.append(own[turns])
    sizes = [place.size for place in places]
    place = np.concatenate(places)
    order = np.argsort(place, kind="stable")
    y, x = np.divmod(place[order], canvas.shape[1] - 1)
    return _Corners(
        np.concatenate(regions)[order],
        y.astype(np.int32),
        x.astype(np.int32),
        np.repeat([False, True, False, True], sizes)[order],
        np.repeat([True, True, False, False], sizes)[order],
    )


def _partners(
    region: NDArray[np.int32], line: NDArray[np.int32], along: NDArray[np.int32], tie: NDArray[np.bool_]
) -> list[int]:
    """The corners of a region on one line of the lattice are joined two by two: for each the index of its partner."""
    key = region.astype(np.int64) * (int(line.max()) + 1) + line
    key = (key * (int(along.max()) + 1) + along) * 2 + tie
    order = np.argsort(key)
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner.tolist()


def _walk(level: list[int], upright: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Follow level and upright edges in turn: all corners ring by ring, and where each ring begins."""
    order: list[int] = []
    begins: list[int] = []
    done = bytearray(len(level))
    for start in range(len(level)):
        if done[start]:
            continue
        begins.append(len(order))
        at = start
        while not done[at]:
            end = level[at]
            done[at] = done[end] = 1
            order += (at, end)
            at = upright[end]
    return np.array(order, np.int64), np.array(begins, np.int64)


def _areas(points: NDArray[np.int32], begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the signed areas of open rings whose first edge is level: the areas under their level edges, by Green."""
    shares = np.zeros(len(points), np.int64)
    shares[0::2] = (points[0::2, 0].astype(np.int64) - points[1::2, 0]) * points[0::2, 1]
    return np.add.reduceat(shares, begins)


def _closed(
    begins: NDArray[np.int64], ends: NDArray[np.int64], backwards: NDArray[np.bool_], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the points of rings put in an order, closed, some of them backwards; and where each then begins."""
    sizes = (ends - begins)[order]
    at = np.concatenate([[0], np.cumsum(sizes + 1)])
    ring = np.repeat(np.arange(order.size), sizes + 1)
    step = np.arange(at[-1]) - at[ring]
    step = np.where(backwards[order][ring], sizes[ring] - step, step)
    return begins[order][ring] + step % sizes[ring], at
