"""The borders between regions, each once: the pieces of rings between the points where three regions meet.

What two neighbours share can so be changed for both of them alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atrous.regions.rings import Rings

__all__ = ["Borders", "share_borders"]


@dataclass(frozen=True)
class Borders:
    """The borders of rings, and the pieces of which each ring consists."""

    points: NDArray[np.int32]  # (P, 2): x, y of all borders, each with both ends
    begins: NDArray[np.int64]  # (B + 1,) where each border begins, and P
    pieces: NDArray[np.int64]  # (Q,) for the pieces of all rings, one after the other, the border
    backwards: NDArray[np.bool_]  # (Q,) whether the ring takes it from its end to its beginning
    ring_begins: NDArray[np.int64]  # (N + 1,) where each ring's pieces begin, and Q
    owner: NDArray[np.int32]  # (N,) the region of each ring

    def rings(self, points: NDArray[np.int32], begins: NDArray[np.int64]) -> Rings:
        """The rings again, closed, from borders with other points between the same ends."""
        first, last = begins[self.pieces], begins[self.pieces + 1] - 1
        pick, at = _stretches(first, last, self.backwards)
        # A piece's last point is the next one's first; only a ring's last piece keeps it.
        keep = np.ones(pick.size, np.bool_)
        keep[at[1:] - 1] = False
        keep[at[self.ring_begins[1:]] - 1] = True
        places = np.concatenate([[0], np.cumsum(keep)])
        return Rings(points[pick[keep]], places[at[self.ring_begins]], self.owner)


def share_borders(rings: Rings, canvas: NDArray[np.int32]) -> Borders:
    """The borders of the rings of all pieces of a map, from which they were traced.

    Borders end where three regions meet, where four pixels of two meet crosswise, and at the picture's four corners; a
    ring that meets no such point is one border. `canvas` is the numbered map with its border of 0.
    """
    meetings = _meetings(canvas)
    rings = _with_meetings(rings, meetings)
    is_meeting = meetings[rings.points[:, 1], rings.points[:, 0]]
    rings, is_meeting = _from_meetings(rings, is_meeting)
    is_end = is_meeting.copy()
    is_end[rings.begins[:-1]] = is_end[rings.begins[1:] - 1] = True
    ends = np.flatnonzero(is_end)
    ring = np.repeat(np.arange(rings.owner.size), np.diff(rings.begins))[ends]
    one = ring[1:] == ring[:-1]
    first, last = ends[:-1][one], ends[1:][one]
    place = rings.points[:, 1].astype(np.int64) * meetings.shape[1] + rings.points[:, 0]
    backwards = (place[last] < place[first]) | (
        (place[last] == place[first]) & (place[last - 1] < place[first + 1])
    )  # so both sides name the border by the same end and the point after it
    begin = np.where(backwards, place[last], place[first])
    after = np.where(backwards, place[last - 1], place[first + 1])
    _, chosen, pieces = np.unique(begin * meetings.size + after, return_index=True, return_inverse=True)
    pick, at = _stretches(first[chosen], last[chosen], backwards[chosen])
    ring_begins = np.concatenate([[0], np.cumsum(np.bincount(ring[:-1][one], minlength=rings.owner.size))])
    return Borders(rings.points[pick], at, pieces.reshape(-1), backwards, ring_begins, rings.owner)


def _meetings(canvas: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(H + 1, W + 1): the lattice points where at least three of the four edges are borders, and the corners."""
    a, b, c, d = canvas[:-1, :-1], canvas[:-1, 1:], canvas[1:, :-1], canvas[1:, 1:]
    edges = (a != b).view(np.uint8) + (c != d).view(np.uint8)
    edges += (a != c).view(np.uint8)
    edges += (b != d).view(np.uint8)
    found = edges >= 3
    found[:: found.shape[0] - 1, :: found.shape[1] - 1] = True
    return found


def _with_meetings(rings: Rings, meetings: NDArray[np.bool_]) -> Rings:
    """The rings with the meetings in the middle of their straight edges as points of their own."""
    x, y = rings.points.T.astype(np.int64)
    leads_on = np.ones(x.size, np.bool_)
    leads_on[rings.begins[1:] - 1] = False
    edges = np.flatnonzero(leads_on)
    level = y[edges] == y[edges + 1]
    passed = (_passed(meetings, y, x, edges[level]), _passed(meetings.T, x, y, edges[~level]))
    inserted = np.bincount(np.concatenate([of for of, _, _ in passed]), minlength=x.size)
    at = np.concatenate([[0], np.cumsum(inserted + 1)])
    points = np.repeat(rings.points, inserted + 1, axis=0)
    for axis, (of, step, along) in enumerate(passed):
        points[at[of] + 1 + step, axis] = along
    return Rings(points, at[rings.begins], rings.owner)


def _passed(
    meetings: NDArray[np.bool_], line: NDArray[np.int64], along: NDArray[np.int64], edges: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The meetings inside edges along the rows of `meetings`: the edge, how many come before it there, and its column.

    An edge is named by its first point; points lie at `line` (the row) and `along` (the column).
    """
    length = meetings.shape[1]
    places = np.flatnonzero(meetings)
    one, other = along[edges], along[edges + 1]
    low = np.searchsorted(places, line[edges] * length + np.minimum(one, other), "right")
    high = np.searchsorted(places, line[edges] * length + np.maximum(one, other), "left")
    counts = high - low
    of = np.repeat(np.arange(edges.size), counts)
    step = np.arange(of.size) - (np.cumsum(counts) - counts)[of]
    index = np.where((one < other)[of], low[of] + step, high[of] - 1 - step)
    return edges[of], step, places[index] % length


def _from_meetings(rings: Rings, is_meeting: NDArray[np.bool_]) -> tuple[Rings, NDArray[np.bool_]]:
    """The rings turned so that each begins at a meeting where it has one."""
    begins, sizes = rings.begins[:-1], np.diff(rings.begins) - 1
    ring = np.repeat(np.arange(sizes.size), sizes + 1)
    step = np.arange(ring.size) - begins[ring]
    first = np.minimum.reduceat(np.where(is_meeting, step, ring.size), begins) if sizes.size else sizes
    first = np.where(first < ring.size, first, 0)
    pick = begins[ring] + (step + first[ring]) % sizes[ring]
    return Rings(rings.points[pick], rings.begins, rings.owner), is_meeting[pick]


def _stretches(
    first: NDArray[np.int64], last: NDArray[np.int64], backwards: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers from each first to its last, some backwards; and where each stretch begins, and the end of all."""
    sizes = last - first + 1
    at = np.concatenate([[0], np.cumsum(sizes)])
    of = np.repeat(np.arange(sizes.size), sizes)
    step = np.arange(at[-1]) - at[of]
    return np.where(backwards[of], last[of] - step, first[of] + step), at
