"""Fewer points on the borders between regions, within a tolerance, without gaps or overlaps.

Each border is simplified once (Douglas and Peucker, "Algorithms for the reduction of the number of points required to
represent a digitized line", 1973), for both of its sides; the points where three regions meet stay. So neighbours go on
to share their border. Where an outline would cross itself or turn over, the tolerance of its borders is halved until it
does not. That is enough for all of them together: the areas of a picture's pieces, each border once in either direction, add
up to the whole picture at every point, so that pieces that are simple and turn the right way cannot overlap or leave gaps.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import MissingExtraError
from atrous.regions.borders import Borders, share_borders
from atrous.regions.rings import Rings

__all__ = ["simplify_rings"]

FINEST = 0.5
"""Pixels. Steps of one pixel are off a straight line by 0.7 or less, so that a smaller tolerance hardly takes a point."""


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
        points, line = shapely.get_coordinates(
            shapely.simplify(lines, tolerances, preserve_topology=False), return_index=True
        )
        begins = np.searchsorted(line, np.arange(lines.size + 1))
        simple = borders.rings(points.astype(np.int32), begins)
        wrong = _borders_of(borders, ~_are_valid(shapely, simple)) & (tolerances > 0)
        if not wrong.any():
            return simple
        tolerances[wrong] /= 2
        tolerances[tolerances < FINEST] = 0


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


def _are_valid(shapely: Any, rings: Rings) -> NDArray[np.bool_]:
    """(count,) for each region whether its rings make a valid polygon, turned as they should be."""
    count = int(rings.owner.max()) + 1
    sizes = np.diff(rings.begins)
    outer = np.ones(sizes.size, np.bool_)
    outer[1:] = np.diff(rings.owner) > 0
    good = (sizes >= 4) & ((_doubled_areas(rings) > 0) == outer)
    valid = np.ones(count, np.bool_)
    valid[rings.owner[~good]] = False
    usable = valid[rings.owner]
    inside = np.repeat(usable, sizes)
    if not usable.any():
        return valid
    numbers = np.repeat(np.cumsum(usable) - 1, sizes)[inside]
    made = shapely.linearrings(rings.points[inside], indices=numbers)
    owner, indices = np.unique(rings.owner[usable], return_inverse=True)
    valid[owner] = shapely.is_valid(shapely.polygons(made, indices=indices.reshape(-1)))
    return valid


def _doubled_areas(rings: Rings) -> NDArray[np.int64]:
    x, y = rings.points.T.astype(np.int64)
    cross = np.zeros(x.size, np.int64)
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[rings.begins[1:] - 1] = 0  # no edge leads from one ring to the next
    return np.add.reduceat(cross, rings.begins[:-1])


def _borders_of(borders: Borders, regions: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B,) whether a border is one of these regions'."""
    ring = _numbers(borders.ring_begins)
    found = np.zeros(borders.begins.size - 1, np.bool_)
    found[borders.pieces[regions[borders.owner[ring]]]] = True
    return found
