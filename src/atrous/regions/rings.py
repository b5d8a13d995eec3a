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
    order, begins = _walk(corners.level.tolist(), corners.upright.tolist())
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

    From each corner one level and one upright edge lead to others.
    """

    region: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    level: NDArray[np.int32]  # the corner at the other end
    upright: NDArray[np.int32]


def _corners(canvas: NDArray[np.int32]) -> _Corners:
    """The corners of all regions.

    Each lattice point lies between four pixels a b / c d. A pixel's own region turns there if both of its neighbours
    across the point's two lines are of another region (an outward corner), or both are of its own but the one opposite is
    not (an inward one). Where two pixels of a region meet only at the point, both turn; there the level edge of each is
    joined to the upright edge of the other, so that a ring goes around the pixels between them one by one, and never
    touches itself.
    """
    upright = canvas[:, 1:] != canvas[:, :-1]
    level = canvas[1:] != canvas[:-1]
    points = np.flatnonzero((upright[:-1] | upright[1:]) & (level[:, :-1] | level[:, 1:]))
    del upright, level
    y, x = (place.astype(np.int32) for place in np.divmod(points, canvas.shape[1] - 1))
    pixels = a, b, c, d = canvas[y, x], canvas[y, x + 1], canvas[y + 1, x], canvas[y + 1, x + 1]
    outward, inward = np.zeros((2, points.size, 4), np.bool_)
    for number, (own, beside, across, opposite) in enumerate(((a, b, c, d), (b, a, d, c), (c, d, a, b), (d, c, b, a))):
        outward[:, number] = (own != beside) & (own != across) & (own > 0)
        inward[:, number] = (own == beside) & (own == across) & (own != opposite) & (own > 0)
    is_corner = outward | inward
    place, pixel = np.nonzero(is_corner)
    numbers = np.full(is_corner.shape, -1, np.int32)
    numbers[is_corner] = np.arange(place.size)
    crossed = numbers.copy()
    for one, other in ((0, 3), (1, 2)):
        meet = outward[:, one] & outward[:, other] & (pixels[one] == pixels[other])
        crossed[meet, one], crossed[meet, other] = numbers[meet, other], numbers[meet, one]
    down = np.lexsort((y, x))
    return _Corners(
        np.choose(pixel, np.stack(pixels)[:, place]),
        y[place],
        x[place],
        _joined([_passing(numbers, outward, *side) for side in ((0, 1), (2, 3))], place.size),
        _joined([_passing(crossed, outward, *side)[down] for side in ((0, 2), (1, 3))], place.size),
    )


def _passing(numbers: NDArray[np.int32], outward: NDArray[np.bool_], first: int, second: int) -> NDArray[np.int32]:
    """(points, 2): along one side of a line, the corner where an edge ends, and the one where the next begins; -1 for none.

    On that side lie two pixels. Where the first turns outward, an edge ends; where it turns inward, one begins; the second
    the other way round.
    """
    ends = np.where(outward[:, first], numbers[:, first], np.where(outward[:, second], -1, numbers[:, second]))
    begins = np.where(outward[:, second], numbers[:, second], np.where(outward[:, first], -1, numbers[:, first]))
    return np.column_stack([ends, begins])


def _joined(sides: list[NDArray[np.int32]], count: int) -> NDArray[np.int32]:
    """For each of `count` corners the one at the other end of its edge: of those along a line, every two are joined."""
    partner = np.empty(count, np.int32)
    for passing in sides:
        along = passing[passing >= 0]
        partner[along[1::2]] = along[0::2]
        partner[along[0::2]] = along[1::2]
    return partner


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
