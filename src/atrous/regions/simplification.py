"""Fewer points on the borders between regions, within a tolerance, without gaps or overlaps.

Each border is simplified once (Douglas and Peucker, "Algorithms for the reduction of the number of points required to
represent a digitized line", 1973), for both of its sides; the points where three regions meet stay. So neighbours go on to
share their border. Where borders of a region would cross or turn over, their tolerance is halved until they do not.

That each piece of a picture, void ones too, is valid by itself and turned the right way is enough for all of them together:
each border once in either direction, their areas add up to the whole picture at every point, so that none can overlap
another and no gap is left.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError, MissingExtraError
from atrous.regions.borders import Borders, share_borders
from atrous.regions.rings import Rings

__all__ = ["check_tolerance", "simplify_rings"]

FINEST = 0.5
"""Pixels. Steps of one pixel are off a straight line by 0.7 or less, so that a smaller tolerance hardly takes a point."""

_LEAST_POINTS = 4  # of a closed ring
_INTERIORS_MEET = "T********"  # a DE-9IM pattern: more than ends in common


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance, in pixels, that polygons cannot be simplified with, here and now.

    Raises:
        ConfigError: it is below 0 or no number.
        MissingExtraError: it is above 0 and shapely is not installed.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ConfigError(f"simplify is {tolerance}, expected a tolerance in pixels: 0 (exact) or more, such as 1.5.")
    if tolerance:
        _shapely()


def simplify_rings(rings: Rings, canvas: NDArray[np.int32], tolerance: float) -> Rings:
    """The rings of all pieces of a picture with fewer points; none of the old points is farther from the new border.

    Args:
        rings: traced from `canvas`.
        canvas: (H + 2, W + 2) the pieces' numbers, void ones too, within a border of 0.
        tolerance: in pixels.

    Raises:
        MissingExtraError: shapely is not installed.
    """
    shapely = _shapely()
    borders = share_borders(rings, canvas)
    lines = shapely.linestrings(borders.points, indices=_numbers(borders.begins))
    tolerances = np.full(lines.size, float(tolerance))
    while True:
        simplified = shapely.simplify(lines, tolerances, preserve_topology=False)
        points, line = shapely.get_coordinates(simplified, return_index=True)
        found = borders.rings(points.astype(np.int32), np.searchsorted(line, np.arange(lines.size + 1)))
        wrong = _wrong(shapely, borders, found, simplified, tolerances)
        if not wrong.any():
            return found
        tolerances[wrong] /= 2
        tolerances[tolerances < FINEST] = 0


def _wrong(
    shapely: Any, borders: Borders, rings: Rings, lines: NDArray[np.object_], tolerances: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(B,) the borders that make a region invalid: that cross others or themselves, or are all that is left of a ring.

    Where a region is invalid for another reason (a hole that lies outside), all of its borders. Of these, those that have
    a tolerance.
    """
    flat = _flat(rings)
    invalid = _invalid(shapely, rings, flat)
    ring = _numbers(borders.ring_begins)
    wrong = np.zeros(lines.size, np.bool_)
    wrong[borders.pieces[flat[ring]]] = True
    suspect = np.zeros(lines.size, np.bool_)
    suspect[borders.pieces[invalid[borders.owner[ring]]]] = True
    suspects = np.flatnonzero(suspect)
    wrong[suspects[~shapely.is_simple(lines[suspects])]] = True
    one, other = shapely.STRtree(lines[suspects]).query(lines[suspects], predicate="intersects")
    pair = one < other
    one, other = suspects[one[pair]], suspects[other[pair]]
    cross = shapely.relate_pattern(lines[one], lines[other], _INTERIORS_MEET)
    wrong[one[cross]] = wrong[other[cross]] = True
    wrong &= tolerances > 0
    explained = np.zeros(invalid.size, np.bool_)
    explained[borders.owner[ring[wrong[borders.pieces]]]] = True
    wrong[borders.pieces[(invalid & ~explained)[borders.owner[ring]]]] = True
    return wrong & (tolerances > 0)


def _shapely() -> Any:
    try:
        import shapely
    except ImportError as error:
        raise MissingExtraError(
            "simplified polygons need shapely, which is not installed; exact ones do not. Install it with "
            "`pip install 'atrous[geo]'`, or leave the tolerance at 0."
        ) from error
    return shapely


def _numbers(begins: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each point the number of the stretch that it lies in."""
    return np.repeat(np.arange(begins.size - 1), np.diff(begins))


def _flat(rings: Rings) -> NDArray[np.bool_]:
    """(N,) the rings that have become lines or have turned over."""
    outer = np.ones(rings.owner.size, np.bool_)
    outer[1:] = np.diff(rings.owner) > 0
    areas = _doubled_areas(rings)
    return (np.diff(rings.begins) < _LEAST_POINTS) | (np.where(outer, areas, -areas) <= 0)


def _invalid(shapely: Any, rings: Rings, flat: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(regions,) those whose rings make no valid polygon."""
    invalid = np.zeros(int(rings.owner.max()) + 1, np.bool_)
    invalid[rings.owner[flat]] = True
    sound = ~invalid[rings.owner]
    if sound.any():
        sizes = np.diff(rings.begins)
        numbers = np.repeat(np.cumsum(sound) - 1, sizes)[np.repeat(sound, sizes)]
        made = shapely.linearrings(rings.points[np.repeat(sound, sizes)], indices=numbers)
        owner, indices = np.unique(rings.owner[sound], return_inverse=True)
        invalid[owner] = ~shapely.is_valid(shapely.polygons(made, indices=indices.reshape(-1)))
    return invalid


def _doubled_areas(rings: Rings) -> NDArray[np.int64]:
    x, y = rings.points.T.astype(np.int64)
    cross = np.zeros(x.size, np.int64)
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[rings.begins[1:] - 1] = 0  # no edge leads from one ring to the next
    return np.add.reduceat(cross, rings.begins[:-1])
