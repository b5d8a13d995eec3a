"""The pixels of images and masks, whole or of a window: the one place where training and evaluation read files.

A window of a TIFF is read without the rest. Another file is decoded whole, and the last two are kept for the next window.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError
from atrous.images import Pixels, UnreadableError, image_size, own_type, read_raw_mask
from atrous.images import read_pixels as read_whole
from atrous.preprocessing import Preprocessing
from atrous.rasters import Raster, is_windowed, open_label_raster, open_raster

__all__ = ["Window", "as_read_by", "file_sizes", "read_pixels", "read_values", "values_by_piece"]

Window = tuple[int, int, int, int]
"""The part of an image that is meant: first row, row after the last, first column, column after the last."""

_PIECE = 2048
"""Side of the pieces in which a whole label raster is looked through."""


def read_pixels(path: Path, preprocessing: Preprocessing, window: Window | None = None) -> Pixels:
    """Read an image, or a window of it, as a model does: (H, W, bands), the same pixels that `images.read_pixels` gives.

    Raises ImageError for what that refuses, or a window with other bands than the model's, or beyond the image.
    """
    if window is None:
        return read_whole(path, preprocessing)
    with _opened(path, is_mask=False) as raster:
        return as_read_by(preprocessing, path, _read(path, raster, window), nodata=raster.nodata)


def as_read_by(preprocessing: Preprocessing, path: Path, pixels: NDArray[Any], *, nodata: float | None) -> Pixels:
    """Pixels (h, w, bands) as a raster stores them, in the bands and numbers that a model reads.

    Raises ImageError where they are others.
    """
    if preprocessing.pixels == "rgb":
        return _as_rgb(path, pixels)
    bands = pixels.shape[2]
    if bands != preprocessing.bands or own_type(pixels[:0], nodata).dtype != preprocessing.pixels:
        raise UnreadableError(
            f"{path}: {bands} band{'s'[: bands != 1]} of {pixels.dtype}; expected {preprocessing.bands} of "
            f"{preprocessing.pixels}, as the model reads. Convert it, e.g. with gdal_translate -b ... -ot ..."
        )
    return own_type(pixels, nodata)


def read_values(path: Path, window: Window | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a mask, or a window of it, as its values are stored: (H, W) uint8 or uint16, as `read_raw_mask` gives.

    Raises ImageError for what `read_raw_mask` refuses, or a window beyond the mask.
    """
    if window is None:
        return read_raw_mask(path)
    with _opened(path, is_mask=True) as raster:
        return _read(path, raster, window)[..., 0]


def values_by_piece(path: Path) -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
    """The values of a whole mask, (h, w) at a time: in pieces where they can be read alone, else at once."""
    if not is_windowed(path):
        yield read_raw_mask(path)
        return
    with open_label_raster(path) as raster:
        height, width = raster.size
        for top in range(0, height, _PIECE):
            for left in range(0, width, _PIECE):
                rows, columns = slice(top, min(top + _PIECE, height)), slice(left, min(left + _PIECE, width))
                yield raster.read(rows, columns)[..., 0]


def file_sizes(image: Path, mask: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) of a whole image and of its whole mask, from their headers. Raises ImageError."""
    return _size(image, is_mask=False), _size(mask, is_mask=True)


def _size(path: Path, *, is_mask: bool) -> tuple[int, int]:
    if not is_windowed(path):
        return image_size(path)
    with _opened(path, is_mask=is_mask) as raster:
        return raster.size


def _read(path: Path, raster: Raster, window: Window) -> NDArray[Any]:
    top, bottom, left, right = window
    height, width = raster.size
    if bottom > height or right > width:
        raise DataError(
            f"{path}: is {height}x{width} (height x width), but rows {top} to {bottom} and columns {left} to {right} are "
            "asked for; expected a mask of the size of its image, and files that stay as they were. Run `atrous check`."
        )
    return raster.read(slice(top, bottom), slice(left, right))


def _as_rgb(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(h, w, 3) from bands as they are stored, by `read_image`'s rules."""
    bands = pixels.shape[2]
    if bands not in (1, 3) or pixels.dtype not in (np.uint8, np.uint16):
        raise UnreadableError(
            f"{path}: {bands} band{'s'[: bands != 1]} of {pixels.dtype}; expected grey or RGB of 8 or 16 bits a band. "
            "Choose and scale three of them, e.g. with gdal_translate -b 1 -b 2 -b 3 -ot Byte -scale."
        )
    if pixels.dtype == np.uint16:
        grey = bands == 1  # of 16-bit colour Pillow keeps the high byte
        pixels = ((pixels.astype(np.uint32) + 128) // 257 if grey else pixels >> 8).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if bands == 1 else pixels


@contextmanager
def _opened(path: Path, *, is_mask: bool) -> Iterator[Raster]:
    if is_windowed(path):
        with open_label_raster(path) if is_mask else open_raster(path) as raster:
            yield raster
        return
    try:
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
    except OSError:
        stamp = (0, 0)  # opening it tells what is wrong
    yield _decoded(path, is_mask, stamp)


@lru_cache(maxsize=2)  # an image and its mask
def _decoded(path: Path, is_mask: bool, stamp: tuple[int, int]) -> Raster:
    """A file that is decoded whole; `stamp` changes with it."""
    return open_label_raster(path) if is_mask else open_raster(path)
