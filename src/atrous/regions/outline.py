"""Regions as polygons: exact along the pixel edges, or simplified; in pixels or in map coordinates."""

import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError
from atrous.labels import Labels
from atrous.regions.components import Region, measure
from atrous.regions.rings import trace_rings
from atrous.regions.simplification import check_tolerance, simplify_rings

__all__ = ["Outline", "Transform", "as_features", "outlines", "polygons"]

Transform = Sequence[float]
"""Six numbers a, b, c, d, e, f: the pixel edge (x, y) lies at (a x + b y + c, d x + e y + f) on the map."""

Ring = NDArray[np.integer]  # (n, 2): x, y; the first point stands at the end again


@dataclass(frozen=True)
class Outline:
    """A region with its rings: the outer one first, then its holes.

    Rings are (n, 2) arrays of (x, y) in whole pixels from the top left corner of the picture. They are closed and never
    cross; the outer one has a positive shoelace sum over (x, y), holes a negative one.
    """

    region: Region
    rings: tuple[Ring, ...]
    exact: tuple[Ring, ...]
    """The rings before they were simplified: the area of the first less the others is the number of the region's pixels."""

    def as_feature(self, transform: Transform | None = None) -> dict[str, Any]:
        """A GeoJSON feature, in pixels or, with a transform, in map coordinates.

        Outer rings have a positive shoelace sum either way: counterclockwise on a map, as RFC 7946 asks.

        Raises:
            ConfigError: a transform that is not six finite numbers, or that maps areas to lines.
        """
        return {
            "type": "Feature",
            "properties": {
                "class_id": self.region.class_id,
                "class_name": self.region.class_name,
                "area_pixels": self.region.area_pixels,
                **self.region.measures(),
            },
            "geometry": {
                "type": "Polygon",
                "coordinates": [_placed(ring, transform) for ring in self.rings],
            },
        }


def outlines(
    label_map: NDArray[np.integer],
    labels: Labels,
    *,
    min_area: int = 1,
    simplify: float = 0,
    confidence: NDArray[np.floating] | None = None,
    pixel_area: float | None = None,
    area_unit: str = "m2",
) -> list[Outline]:
    """The regions of a label map (H, W) with their rings, the largest first. Arguments are those of `polygons`."""
    check_tolerance(simplify)
    regions = measure(
        label_map,
        labels,
        min_area=min_area,
        confidence=confidence,
        pixel_area=pixel_area,
        area_unit=area_unit,
    )
    count = len(regions.found)
    if not count:
        return []
    canvas = regions.numbered(others=simplify > 0)
    rings = trace_rings(canvas)
    exact = rings.of_regions(count)
    drawn = simplify_rings(rings, canvas, simplify).of_regions(count) if simplify else exact
    return [Outline(*parts) for parts in zip(regions.found, drawn, exact, strict=True)]


def polygons(
    label_map: NDArray[np.integer],
    labels: Labels,
    *,
    min_area: int = 1,
    simplify: float = 0,
    confidence: NDArray[np.floating] | None = None,
    pixel_area: float | None = None,
    area_unit: str = "m2",
    transform: Transform | None = None,
) -> list[dict[str, Any]]:
    """The regions as GeoJSON features whose rings follow the pixel edges, the largest first.

    The area of a polygon, its outer ring less its holes, is the number of its pixels exactly, and rasterising it gives
    the region back. Coordinates are (x, y) in pixels from the top left corner of the picture, whole numbers. Rings are
    closed and never touch themselves; the outer ring comes first and has a positive shoelace sum over (x, y), holes a
    negative one.

    With a tolerance polygons have fewer points, stay valid, and neighbours still share their borders without gaps or
    overlaps; no border moves by more than the tolerance. `area_pixels` and the other measures stay the exact region's.

    Args:
        label_map: Class ids (H, W).
        labels: Their names and the value that is void.
        min_area: Regions of fewer pixels are left out (and stay holes in what is around them).
        simplify: Tolerance in pixels; 0 keeps every point. Needs shapely (the extra `geo`).
        confidence: Probability of each pixel's class, (H, W) float32; gives each region its `mean_confidence`.
        pixel_area: What one pixel covers, in `area_unit`; gives each region its `area`.
        area_unit: The unit's name.
        transform: Six numbers a, b, c, d, e, f; gives map coordinates (a x + b y + c, d x + e y + f).

    Raises:
        DataError: the map holds a value that is neither a class nor void, or `confidence` has another size.
        ConfigError: a tolerance below 0, a `pixel_area` that is no positive number, a transform that is none.
        MissingExtraError: a tolerance is given and shapely is not installed.
    """
    found = outlines(
        label_map,
        labels,
        min_area=min_area,
        simplify=simplify,
        confidence=confidence,
        pixel_area=pixel_area,
        area_unit=area_unit,
    )
    return as_features(found, transform)


def as_features(found: Sequence[Outline], transform: Transform | None = None) -> list[dict[str, Any]]:
    """`Outline.as_feature` of many.

    Python's collector of cycles rests meanwhile: it would go through millions of lists again and again, five times as long
    as they take to make, and there is no cycle among them.
    """
    resting = gc.isenabled()
    gc.disable()
    try:
        return [outline.as_feature(transform) for outline in found]
    finally:
        if resting:
            gc.enable()


def _placed(ring: Ring, transform: Transform | None) -> list[list[float]]:
    """A ring's points on the map, or as they are; turned around where the map mirrors the picture."""
    if transform is None:
        return ring.tolist()
    numbers = [float(number) for number in transform]
    if (
        len(numbers) != 6
        or not all(map(math.isfinite, numbers))
        or not numbers[0] * numbers[4] - numbers[1] * numbers[3]
    ):
        raise ConfigError(
            f"the transform is {tuple(transform)}, expected six numbers a, b, c, d, e, f with a e - b d not 0: "
            "x' = a x + b y + c, y' = d x + e y + f."
        )
    a, b, c, d, e, f = numbers
    x, y = ring.T.astype(np.float64)
    placed = np.column_stack([a * x + b * y + c, d * x + e * y + f])
    return (placed if a * e - b * d > 0 else placed[::-1]).tolist()
