"""Opening a picture: regular files in known formats alone, sizes checked before anything is decoded."""

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from atrous.errors import ImageError, MissingExtraError
from atrous.images.faults import RESTORE, TILES, damaged, unreadable

__all__ = ["MAX_PIXELS", "ORIENTATION_TAG", "check_size", "opened", "orientation", "recognised"]

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded unless the caller says otherwise: Pillow's own limit, 2**30 bytes / 4 / 3."""
ORIENTATION_TAG = 0x0112  # EXIF 2.32, section 4.6.4: 1 is upright, 2 to 8 are turned or mirrored
_FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"

# The allow-list: plugins are called by the file's first bytes and never searched for. Pillow reads some forty formats,
# and most of its weaknesses were in the rare ones.
_OPENERS: tuple[tuple[bytes, str, Callable[..., ImageFile.ImageFile]], ...] = (
    (b"\xff\xd8\xff", "JPEG", JpegImagePlugin.jpeg_factory),
    (b"\x89PNG\r\n\x1a\n", "PNG", PngImagePlugin.PngImageFile),
    (b"RIFF", "WebP", WebPImagePlugin.WebPImageFile),
    (b"BM", "BMP", BmpImagePlugin.BmpImageFile),
    (b"II*\x00", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\x00*", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"II+\x00", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"MM\x00+", "TIFF", TiffImagePlugin.TiffImageFile),
    (b"GIF8", "GIF", GifImagePlugin.GifImageFile),
)
_FOREIGN = (
    (4, b"ftyp", "HEIC, AVIF or video"),
    (0, b"\x00\x00\x00\x0cjP", "JPEG 2000"),
    (128, b"DICM", "DICOM"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"version https://git-lfs", "Git LFS pointer"),
)


Opener = Callable[..., ImageFile.ImageFile]


@contextmanager
def opened(path: Path, *, max_pixels: int | None) -> Iterator[tuple[ImageFile.ImageFile, BinaryIO]]:
    """Read the header, check the size, and turn whatever goes wrong until the end of the body into an ImageError."""
    with recognised(path) as (_, opener, file):
        image = opener(file)
        width, height = image.size
        check_size(path, (height, width), max_pixels)
        yield image, file


@contextmanager
def recognised(path: Path) -> Iterator[tuple[str, Opener, BinaryIO]]:
    """Open a file of a known format: (its name, what reads its header, the file).

    Whatever goes wrong until the end of the body becomes an ImageError.
    """
    _check_regular(path)
    name = "image"
    try:
        with path.open("rb") as file:
            head = file.read(132)
            name, opener = _opener(path, head)
            file.seek(0)
            yield name, opener, file
    except (ImageError, MissingExtraError):
        raise
    except MemoryError as error:
        raise unreadable(path, "too large for this machine's memory", "a smaller file", TILES) from error
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise unreadable(
                path, f"cannot be opened: {error.strerror}", "a file that may be read", "Check its permissions."
            ) from error
        raise damaged(path, name, error) from error
    except Exception as error:  # decoders raise SyntaxError, ValueError, struct.error, zlib.error and more
        raise damaged(path, name, error) from error


def _check_regular(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        found = "does not exist" if missing else f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        raise unreadable(path, found, "an image file", "Check the path; capital letters count.") from error
    if stat.S_ISDIR(status.st_mode):
        raise unreadable(path, "a folder", "an image file", "Name a file in it.")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise unreadable(path, "not a regular file", "an image file", "Copy its content into a file.")
    if status.st_size == 0:
        raise unreadable(path, "an empty file (0 bytes)", "an image", RESTORE)


def _opener(path: Path, head: bytes) -> tuple[str, Opener]:
    for magic, name, opener in _OPENERS:
        if head.startswith(magic) and (name != "WebP" or head[8:12] == b"WEBP"):
            return name, opener
    foreign = next((name for at, magic, name in _FOREIGN if head[at:].startswith(magic)), None)
    if foreign == "Git LFS pointer":
        raise unreadable(path, "a Git LFS pointer, not the file itself", "an image", "Run `git lfs pull`.")
    if foreign is not None:
        raise unreadable(path, f"a {foreign} file, which is not read", _FORMATS, "Convert it to PNG or JPEG.")
    raise unreadable(path, "not an image, or its beginning is damaged", _FORMATS, RESTORE)


def check_size(path: Path, size: tuple[int, int], max_pixels: int | None) -> None:
    """Raise ImageError for a picture of `size` (height, width) with more than `max_pixels` pixels."""
    height, width = size
    if max_pixels is not None and width * height > max_pixels:
        found = f"{height} x {width} pixels (height x width) are {width * height / 1e6:.0f} million"
        raise unreadable(path, found, f"at most {max_pixels / 1e6:.3g} million pixels", TILES)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data is damaged."""
    try:
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)  # not PngImageFile's, which decodes the pixels
    except Exception:
        return 1
    return value if value in range(1, 9) else 1
