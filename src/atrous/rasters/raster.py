"""What a raster is, whatever it is read from, and pictures that are served from memory."""

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from atrous.images import Fault, UnreadableError
from atrous.rasters.georeference import Georeference

__all__ = ["MAX_BANDS", "MemoryRaster", "Raster", "check_window", "count_not_finite", "unreadable"]

MAX_BANDS = 16
"""Bands of an image, an alpha band not counted; satellites that photograph have 4 to 13."""


class Raster(Protocol):
    """An image that is read by window; a context manager that closes its file. Threads may share it.

    `size` is (height, width); `bands` counts neither alpha nor mask. `dtype` is that of the file, uint8 for palettes,
    whose colours are read.
    """

    path: Path
    size: tuple[int, int]
    bands: int
    dtype: np.dtype[Any]
    georeference: Georeference | None
    nodata: float | None

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """The pixels (h, w, bands) of a window that lies within `size`, in `dtype`, C-contiguous.

        Values that are not finite are given as they are; `count_not_finite` counts them.

        Raises ImageError, with the place, for a part of the file that is damaged or missing.
        """
        ...

    def void(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        """Which pixels (h, w) of a window hold no data; None where the file has no way to say so.

        These are pixels with the nodata value in every band, with 0 in an alpha or mask band, and, in images of floats,
        those without a finite value in any band. Raises ImageError as `read` does.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


class MemoryRaster:
    """A picture (H, W, bands) that was decoded whole."""

    def __init__(self, path: Path, pixels: NDArray[Any]) -> None:
        self.path = path
        self.size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])
        self.bands: int = pixels.shape[2]
        self.dtype: np.dtype[Any] = pixels.dtype
        self.georeference: Georeference | None = None
        self.nodata: float | None = None
        self._pixels = pixels

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Raster.read`."""
        check_window(self.size, rows, columns)
        return self._pixels[rows, columns].copy(order="C")  # never a view that a caller could write through

    def void(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        """None: transparency is dropped when a picture is decoded."""
        check_window(self.size, rows, columns)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pixels = np.empty((0, 0, self.bands), self.dtype)


def count_not_finite(pixels: NDArray[Any]) -> int:
    """How many values of `pixels` are NaN or infinite; 0 for integers."""
    if not np.issubdtype(pixels.dtype, np.floating):
        return 0
    return int(pixels.size - np.count_nonzero(np.isfinite(pixels)))


def check_window(size: tuple[int, int], rows: slice, columns: slice) -> None:
    """Raise ValueError unless both slices have a start and a stop within `size`, and no step."""
    for part, length in ((rows, size[0]), (columns, size[1])):
        within = part.start is not None and part.stop is not None and 0 <= part.start <= part.stop <= length
        if not within or part.step not in (None, 1):
            raise ValueError(f"the window {rows}, {columns} does not lie within {size[0]} x {size[1]}")


def unreadable(path: Path, found: str, expected: str, fix: str) -> UnreadableError:
    """An ImageError about a raster, with its parts."""
    return UnreadableError(
        f"{path}: {found}; expected {expected}. {fix}".rstrip(), Fault(found=found, expected=expected, fix=fix)
    )
