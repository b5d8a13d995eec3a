"""Pictures and masks in and out: the only place that decodes files and that knows EXIF turns, palettes and bit depths.

Pillow reads every header; sizes are checked there, before anything is decoded. simplejpeg, where installed, decodes
plain JPEG files to the same pixels in less time.
"""

from atrous.images.faults import Fault, UnreadableError
from atrous.images.masks import encode_mask, read_raw_mask, write_mask
from atrous.images.opening import MAX_PIXELS
from atrous.images.pictures import image_size, read_image, write_image

__all__ = [
    "MAX_PIXELS",
    "Fault",
    "UnreadableError",
    "encode_mask",
    "image_size",
    "read_image",
    "read_raw_mask",
    "write_image",
    "write_mask",
]
