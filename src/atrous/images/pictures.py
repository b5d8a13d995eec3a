"""Pictures in and out: upright RGB, whatever the file's EXIF turn, palette or bit depth."""

import importlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from atrous.errors import OutputError
from atrous.files import write_atomically
from atrous.images.faults import unreadable
from atrous.images.opening import MAX_PIXELS, opened, orientation

__all__ = ["image_size", "read_image", "sixteen_bit", "upright", "write_image"]

_JPEG_QUALITY = 95
Number = TypeVar("Number", bound=np.generic)


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB, upright.

    The EXIF turn is applied here, and nowhere else. Grey, palette and CMYK become RGB; transparency is dropped and the
    stored colours are kept, as OpenCV and Pillow's `convert` do; 16-bit grey is scaled by 1/257 (65535 becomes 255),
    of 16-bit colour the high byte is kept; colour profiles are not applied. The first frame or page is read.

    Raises ImageError for a file that does not exist, is empty, damaged, truncated or of another format, or that has
    more than `max_pixels` pixels (checked before decoding).
    """
    with opened(path, max_pixels=max_pixels) as (image, file):
        pixels = _fast_jpeg(image, file)
        if pixels is None:
            image.load()
            pixels = _rgb(path, image)
        return np.ascontiguousarray(upright(pixels, orientation(image)))


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the upright picture, read from the header.

    Raises ImageError for a file whose header cannot be read.
    """
    with opened(path, max_pixels=None) as (image, file):
        width, height = image.size
        if image.format == "TIFF":  # Pillow has turned its size already, as it will turn its pixels
            return height, width
        if image.format == "PNG" and width * height <= MAX_PIXELS and _metadata_follows(file):
            image.load()
        return (width, height) if orientation(image) >= 5 else (height, width)


def write_image(path: Path, array: NDArray[np.uint8]) -> None:
    """Write a picture (H, W, 3) RGB or (H, W) grey, uint8, as PNG or JPEG by the suffix of `path`, without metadata.

    Raises OutputError for another suffix, or when it cannot be written.
    """
    buffer = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(array))
    match path.suffix.lower():
        case ".png":
            image.save(buffer, format="PNG")
        case ".jpg" | ".jpeg":
            image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        case other:
            raise OutputError(f"{path} was not written: the suffix is {other!r}; expected .png, .jpg or .jpeg.")
    write_atomically(path, buffer.getvalue())


def _fast_jpeg(image: ImageFile.ImageFile, file: BinaryIO) -> NDArray[np.uint8] | None:
    """Decode with simplejpeg where it is installed and gives what Pillow gives: a JPEG file in grey or RGB."""
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    try:
        simplejpeg = importlib.import_module("simplejpeg")
    except ImportError:
        return None
    file.seek(0)
    return cast("NDArray[np.uint8]", simplejpeg.decode_jpeg(file.read(), colorspace="RGB"))


def _rgb(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """(H, W, 3) of a loaded picture."""
    if image.mode.startswith("I"):
        grey = (sixteen_bit(path, image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise unreadable(
            path, "32-bit float pixels", "8 or 16 bits a channel", "Scale its values to 0-255 and save it as PNG."
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns on the direct way
    return np.array(image.convert("RGB"))


def sixteen_bit(path: Path, image: Image.Image) -> NDArray[np.uint16]:
    """(H, W) of a 16-bit picture; 32-bit integers only where they fit."""
    values = np.array(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        found = f"32-bit values from {values.min()} to {values.max()}"
        raise unreadable(path, found, "values from 0 to 65535", "Save it as 8- or 16-bit PNG.")
    return values.astype(np.uint16)


def upright(pixels: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Pixels (H, W, bands) turned as an EXIF `orientation`, 1 to 8, says."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.transpose(1, 0, 2)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].transpose(1, 0, 2)
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels


def _metadata_follows(file: BinaryIO) -> bool:
    """Whether a PNG file has EXIF or text after its pixels, where Pillow finds it only by decoding them."""
    position = file.tell()
    file.seek(8)
    kinds: list[bytes] = []
    while len(head := file.read(8)) == 8:
        if head[4:] != b"IDAT" or b"IDAT" not in kinds:
            kinds.append(head[4:])
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)  # over the data and its checksum
    file.seek(position)
    after = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    return not {b"eXIf", b"iTXt", b"zTXt", b"tEXt"}.isdisjoint(after)
