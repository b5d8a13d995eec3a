"""Which reader opens a file."""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from atrous.errors import MissingExtraError
from atrous.images import MAX_PIXELS, image_size, read_image, read_raw_mask
from atrous.rasters.gdal import has_rasterio
from atrous.rasters.geotiff import TiffRaster
from atrous.rasters.raster import MemoryRaster, Raster

__all__ = ["open_label_raster", "open_raster"]

_CLASSIC, _BIG = (b"II*\x00", b"MM\x00*"), (b"II+\x00", b"MM\x00+")
_ORIENTATION = 0x0112
_MOST_ENTRIES = 4096  # of a TIFF's first directory; some sixty tags exist


def open_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Open an image to read it by window.

    TIFF (classic, Big, GeoTIFF) is read from the file as it is asked for, at any size, through rasterio: the first page,
    1 to 16 bands in their own dtype, palettes as RGB, CMYK and YCbCr as RGB, alpha left out. All else, and TIFF with an
    EXIF turn or without rasterio, is decoded whole by `read_image`, at most `max_pixels`: three bands of uint8.

    Raises ImageError for a file that is no image, is damaged, has more bands, complex values, or blocks too large to
    read a part; MissingExtraError for a TIFF above `max_pixels` where rasterio is not installed.
    """
    if _is_windowed(path, max_pixels):
        return TiffRaster(path, is_label_map=False)
    return MemoryRaster(path, read_image(path, max_pixels=max_pixels))


def open_label_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Open a mask to read its stored values by window: one band, uint8 or uint16; palettes give their indices.

    Raises what `open_raster` raises, and ImageError for all that is not one band of whole numbers from 0 to 65535.
    """
    if _is_windowed(path, max_pixels):
        return TiffRaster(path, is_label_map=True)
    return MemoryRaster(path, read_raw_mask(path, max_pixels=max_pixels)[..., np.newaxis])


def _is_windowed(path: Path, max_pixels: int) -> bool:
    """Whether rasterio reads the file; anything that is not plainly a TIFF is left to Pillow and its messages."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(4)
            if head not in _CLASSIC + _BIG:
                return False
            turned = _orientation(file) != 1
    except (OSError, ValueError):
        return False
    if has_rasterio():
        return not turned
    height, width = image_size(path)
    if height * width > max_pixels:
        raise MissingExtraError(
            f"{path}: {height} x {width} pixels (height x width) are {height * width / 1e6:.0f} million; expected at most "
            f"{max_pixels / 1e6:.3g} million without rasterio, which reads by window. Run: pip install 'atrous[geo]'"
        )
    return False


def _orientation(file: BinaryIO) -> int:
    """The EXIF orientation in a TIFF's first directory, 1 to 8; 1 where there is none or the directory is damaged."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[:4] in _BIG
    count_format, entry_bytes, value_at = ("Q", 20, 12) if is_big else ("H", 12, 8)
    try:
        (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)
        file.seek(at)
        (count,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
        entries = file.read(entry_bytes * min(count, _MOST_ENTRIES))
        for start in range(0, len(entries) - entry_bytes + 1, entry_bytes):
            if struct.unpack_from(order + "H", entries, start)[0] == _ORIENTATION:
                (value,) = struct.unpack_from(order + "H", entries, start + value_at)
                return value if value in range(1, 9) else 1
    except (struct.error, OSError, OverflowError, ValueError):
        pass
    return 1
