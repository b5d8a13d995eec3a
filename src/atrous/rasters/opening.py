"""Which reader opens a file."""

from pathlib import Path

import numpy as np

from atrous.errors import MissingExtraError
from atrous.images import MAX_PIXELS, image_size, read_image, read_raw_mask
from atrous.rasters.gdal import has_rasterio, takes_path
from atrous.rasters.geotiff import TiffRaster
from atrous.rasters.raster import MemoryRaster, Raster
from atrous.rasters.tiff_header import read_tiff_header

__all__ = ["is_windowed", "open_label_raster", "open_raster"]


def open_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Open an image to read it by window.

    TIFF (classic, Big, GeoTIFF) is read from the file as it is asked for, at any size, through rasterio: the first page,
    1 to 16 bands in their own dtype, palettes as RGB, CMYK and YCbCr as RGB, alpha left out. All else, and TIFF with an
    EXIF turn, with 0 as white, or without rasterio, is decoded whole by `read_image`, at most `max_pixels`: three bands
    of uint8.

    Raises ImageError for a file that is no image, is damaged, has more bands, complex values, or blocks too large to
    read a part; MissingExtraError for a TIFF above `max_pixels` where rasterio is not installed.
    """
    if _is_windowed(path, max_pixels):
        return TiffRaster(path, is_label_map=False)
    return MemoryRaster(path, read_image(path, max_pixels=max_pixels))


def open_label_raster(path: Path, *, max_pixels: int = MAX_PIXELS) -> Raster:
    """Open a mask to read its stored values by window: one band, uint8 or uint16; palettes give their indices.

    Bands of other whole numbers are read as uint16, where their values fit, and RGB as grey, where its bands are equal.

    Raises what `open_raster` raises, and ImageError for all that is not one band of whole numbers from 0 to 65535, and
    for JPEG compression, which invents values.
    """
    if _is_windowed(path, max_pixels):
        return TiffRaster(path, is_label_map=True)
    return MemoryRaster(path, read_raw_mask(path, max_pixels=max_pixels)[..., np.newaxis])


def is_windowed(path: Path) -> bool:
    """Whether a window of the file can be read without the rest: a plain TIFF, where rasterio is installed."""
    header = read_tiff_header(path)
    return header is not None and header.is_plain and takes_path(path) and has_rasterio()


def _is_windowed(path: Path, max_pixels: int) -> bool:
    """As `is_windowed`; anything that is not plainly a TIFF is left to Pillow and its messages."""
    if is_windowed(path):
        return True
    if read_tiff_header(path) is None or has_rasterio():
        return False
    height, width = image_size(path)
    if height * width > max_pixels:
        raise MissingExtraError(
            f"{path}: {height} x {width} pixels (height x width) are {height * width / 1e6:.0f} million; expected at most "
            f"{max_pixels / 1e6:.3g} million without rasterio, which reads by window. Run: pip install 'atrous[geo]'"
        )
    return False
