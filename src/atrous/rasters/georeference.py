"""Where on the map a raster lies."""

import importlib
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

__all__ = ["Georeference"]

_Coordinate = TypeVar("_Coordinate", float, NDArray[Any])


@dataclass(frozen=True, kw_only=True)
class Georeference:
    """A coordinate reference system and the affine map into it.

    `crs` is WKT text, None where only the map is known. `transform` holds (a, b, c, d, e, f): the corner of pixels that
    is `column` from the left and `row` from the top lies at x = a * column + b * row + c, y = d * column + e * row + f.
    Whole numbers are corners of pixels; their centres are half a pixel further.
    """

    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    def to_map(self, x: _Coordinate, y: _Coordinate) -> tuple[_Coordinate, _Coordinate]:
        """Map coordinates of the place `x` pixels from the left and `y` from the top; numbers or arrays of one shape."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    @property
    def pixel_area(self) -> float:
        """The area of one pixel in squared units of the reference system."""
        a, b, _, d, e, _ = self.transform
        return abs(a * e - b * d)

    @property
    def unit(self) -> str | None:
        """The name of the reference system's unit ('metre', 'degree', 'US survey foot'); None where it is unknown."""
        if self.crs is None:
            return None
        try:
            crs = importlib.import_module("rasterio.crs").CRS.from_wkt(self.crs)
            name = str(crs.units_factor[0])
        except Exception:  # no rasterio, or text that it does not understand
            return None
        return None if name == "unknown" else name
