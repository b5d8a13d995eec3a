"""Pictures and masks in and out: the only place that decodes files and that knows EXIF turns, palettes and bit depths.

Pillow reads every header; sizes are checked there, before anything is decoded. simplejpeg, where installed, decodes
plain JPEG files to the same pixels in less time. Of images that are not RGB in 8 bits, OpenCV decodes PNG and rasterio
TIFF files of several bands.
"""

from atrous.images.bands import Pixels, kind_of_bands, own_type, read_bands, read_pixels
from atrous.images.faults import Fault, UnreadableError
from atrous.images.kinds import PHOTO, PixelKind, pixel_kind
from atrous.images.masks import encode_mask, read_raw_mask, write_mask
from atrous.images.opening import MAX_PIXELS
from atrous.images.pictures import image_size, read_image, write_image

__all__ = [
    "MAX_PIXELS",
    "PHOTO",
    "Fault",
    "PixelKind",
    "Pixels",
    "UnreadableError",
    "encode_mask",
    "image_size",
    "kind_of_bands",
    "own_type",
    "pixel_kind",
    "read_bands",
    "read_image",
    "read_pixels",
    "read_raw_mask",
    "write_image",
    "write_mask",
]
