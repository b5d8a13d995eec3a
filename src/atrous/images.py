"""Pictures and masks in and out: the only place that decodes files and that knows EXIF turns, palettes and bit depths.

Pillow reads every header; sizes are checked there, before anything is decoded. simplejpeg, where installed, decodes
plain JPEG files to the same pixels in less time. Masks go through Pillow only: it alone keeps palette indices.
"""

import importlib
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
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

from atrous.errors import ImageError, OutputError
from atrous.files import write_atomically
from atrous.labels import VOID_COLOUR, Labels, voc_palette

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

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded unless the caller says otherwise: Pillow's own limit, 2**30 bytes / 4 / 3."""

_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4: 1 is upright, 2 to 8 are turned or mirrored
_FORMATS = "JPEG, PNG, WebP, BMP, TIFF or GIF"
_JPEG_QUALITY = 95

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


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The three parts of a message about one file."""

    found: str
    expected: str
    fix: str


class UnreadableError(ImageError):
    """An ImageError that carries its parts, for lists of findings."""

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message)  # rebuilt from the message alone when a loader's worker process passes it on
        self.fault = fault or Fault(found=message, expected="a readable file", fix="")


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture as (H, W, 3) uint8 RGB, upright.

    The EXIF turn is applied here, and nowhere else. Grey, palette and CMYK become RGB; transparency is dropped and the
    stored colours are kept, as OpenCV and Pillow's `convert` do; 16-bit grey is scaled by 1/257 (65535 becomes 255),
    of 16-bit colour the high byte is kept; colour profiles are not applied. The first frame or page is read.

    Raises ImageError for a file that does not exist, is empty, damaged, truncated or of another format, or that has
    more than `max_pixels` pixels (checked before decoding).
    """
    with _opened(path, max_pixels=max_pixels) as (image, file):
        pixels = _fast_jpeg(image, file)
        if pixels is None:
            image.load()
            pixels = _rgb(path, image)
        return np.ascontiguousarray(_upright(pixels, _orientation(image)))


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the upright picture, read from the header.

    Raises ImageError for a file whose header cannot be read.
    """
    with _opened(path, max_pixels=None) as (image, file):
        width, height = image.size
        if image.format == "TIFF":  # Pillow has turned its size already, as it will turn its pixels
            return height, width
        if image.format == "PNG" and width * height <= MAX_PIXELS and _metadata_follows(file):
            image.load()
        return (width, height) if _orientation(image) >= 5 else (height, width)


def read_raw_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a mask's values as they are stored: (H, W) uint8, or uint16 for 16-bit files.

    Palette files give their indices, 1-bit files 0 and 1, 2- and 4-bit grey files 0-3 and 0-15 (Pillow would spread
    them over 0-255). RGB with three equal channels is read as grey. EXIF turns are not applied; a mask that has one is
    refused, because it is unknown which of the two its maker meant.

    Raises ImageError for what `read_image` refuses, and for colour masks, masks with transparency, JPEG and WebP.
    """
    with _opened(path, max_pixels=max_pixels) as (image, _):
        _refuse_lossy(path, image)
        packing = _packing(image)
        turn = cast("TiffImagePlugin.TiffImageFile", image).tag_v2.get(_ORIENTATION, 1) if image.format == "TIFF" else 1
        image.load()
        if turn != 1 or (image.format != "TIFF" and _orientation(image) != 1):
            raise _unreadable(
                path,
                "a mask with an EXIF turn",
                "a mask without one, pixel for pixel as its upright image",
                "Save it again upright, without EXIF.",
            )
        return _values(path, image, packing)


def write_mask(path: Path, label_map: NDArray[np.integer[Any]], labels: Labels) -> None:
    """Write what `encode_mask` gives. Raises ValueError for a value that is no class, OutputError for a full disk."""
    write_atomically(path, encode_mask(label_map, labels))


def encode_mask(label_map: NDArray[np.integer[Any]], labels: Labels, *, effort: int = 6) -> bytes:
    """A palette PNG of a label map (H, W) of class numbers: index = class, in the colours of `labels`.

    The ignore index is drawn in VOC's border colour. Above 256 values it is a 16-bit grey PNG. No metadata is in it.
    `effort` is zlib's, 0 to 9. Raises ValueError for a value that is neither a class nor the ignore index.
    """
    if label_map.ndim != 2:
        raise ValueError(f"a label map has the shape (H, W), not {label_map.shape}")
    present = set(np.flatnonzero(np.bincount(label_map.ravel())).tolist())
    foreign = sorted(present - {*range(labels.num_classes), labels.ignore_index})
    if foreign:
        raise ValueError(f"the label map holds {foreign[:5]}; expected 0-{labels.num_classes - 1} or the ignore index")
    if max(labels.num_classes - 1, labels.ignore_index) > 255:
        image = Image.fromarray(np.ascontiguousarray(label_map, dtype=np.uint16))
    else:
        image = Image.fromarray(np.ascontiguousarray(label_map, dtype=np.uint8))
        colours = [*labels.palette, *voc_palette()[labels.num_classes :]]
        if labels.ignore_index >= 0:
            colours[labels.ignore_index] = VOID_COLOUR
        image.putpalette([channel for colour in colours for channel in colour])
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=effort)
    return buffer.getvalue()


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


@contextmanager
def _opened(path: Path, *, max_pixels: int | None) -> Iterator[tuple[ImageFile.ImageFile, BinaryIO]]:
    """Read the header, check the size, and turn whatever goes wrong until the end of the body into an ImageError."""
    _check_regular(path)
    name = "image"
    try:
        with path.open("rb") as file:
            head = file.read(132)
            name, opener = _opener(path, head)
            file.seek(0)
            image = opener(file)
            _check_size(path, image, max_pixels)
            yield image, file
    except ImageError:
        raise
    except MemoryError as error:
        raise _unreadable(path, "too large for this machine's memory", "a smaller file", _TILES) from error
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise _unreadable(
                path, f"cannot be opened: {error.strerror}", "a file that may be read", "Check its permissions."
            ) from error
        raise _damaged(path, name, error) from error
    except Exception as error:  # decoders raise SyntaxError, ValueError, struct.error, zlib.error and more
        raise _damaged(path, name, error) from error


_TILES = "Cut it into tiles, or scale it down."
_RESTORE = "Restore it from its source, or remove it from the data set."


def _check_regular(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        found = "does not exist" if missing else f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        raise _unreadable(path, found, "an image file", "Check the path; capital letters count.") from error
    if stat.S_ISDIR(status.st_mode):
        raise _unreadable(path, "a folder", "an image file", "Name a file in it.")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise _unreadable(path, "not a regular file", "an image file", "Copy its content into a file.")
    if status.st_size == 0:
        raise _unreadable(path, "an empty file (0 bytes)", "an image", _RESTORE)


def _opener(path: Path, head: bytes) -> tuple[str, Callable[..., ImageFile.ImageFile]]:
    for magic, name, opener in _OPENERS:
        if head.startswith(magic) and (name != "WebP" or head[8:12] == b"WEBP"):
            return name, opener
    foreign = next((name for at, magic, name in _FOREIGN if head[at:].startswith(magic)), None)
    if foreign == "Git LFS pointer":
        raise _unreadable(path, "a Git LFS pointer, not the file itself", "an image", "Run `git lfs pull`.")
    if foreign is not None:
        raise _unreadable(path, f"a {foreign} file, which is not read", _FORMATS, "Convert it to PNG or JPEG.")
    raise _unreadable(path, "not an image, or its beginning is damaged", _FORMATS, _RESTORE)


def _check_size(path: Path, image: ImageFile.ImageFile, max_pixels: int | None) -> None:
    width, height = image.size
    if max_pixels is not None and width * height > max_pixels:
        found = f"{height} x {width} pixels (height x width) are {width * height / 1e6:.0f} million"
        raise _unreadable(path, found, f"at most {max_pixels / 1e6:.3g} million pixels", _TILES)


def _damaged(path: Path, name: str, error: Exception) -> UnreadableError:
    text = " ".join(str(error).split())[:160] or type(error).__name__
    lowered = text.lower()
    state = "truncated" if any(word in lowered for word in ("truncat", "premature", "end of")) else "damaged"
    return _unreadable(path, f"{state} {name} data ({text})", f"a whole {name} file", _RESTORE)


def _unreadable(path: Path, found: str, expected: str, fix: str) -> UnreadableError:
    fault = Fault(found=found, expected=expected, fix=fix)
    return UnreadableError(f"{path}: {found}; expected {expected}. {fix}", fault)


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
        grey = (_sixteen_bit(path, image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "F":
        raise _unreadable(
            path, "32-bit float pixels", "8 or 16 bits a channel", "Scale its values to 0-255 and save it as PNG."
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns on the direct way
    return np.array(image.convert("RGB"))


def _sixteen_bit(path: Path, image: Image.Image) -> NDArray[np.uint16]:
    """(H, W) of a 16-bit picture; 32-bit integers only where they fit."""
    values = np.array(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        found = f"32-bit values from {values.min()} to {values.max()}"
        raise _unreadable(path, found, "values from 0 to 65535", "Save it as 8- or 16-bit PNG.")
    return values.astype(np.uint16)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data is damaged."""
    try:
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)  # not PngImageFile's, which decodes the pixels
    except Exception:
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
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


def _refuse_lossy(path: Path, image: ImageFile.ImageFile) -> None:
    kind = "JPEG" if "jpeg" in str(image.info.get("compression", "")) else image.format
    if kind in ("JPEG", "MPO", "WEBP"):
        name = "WebP" if kind == "WEBP" else "JPEG"
        raise _unreadable(
            path,
            f"a {name} mask: its compression invents values that are no classes",
            "a PNG mask",
            "Export the masks as PNG from their source; converting this file does not bring the classes back.",
        )


def _packing(image: ImageFile.ImageFile) -> str:
    """How the pixels are stored, as Pillow names it ('L;4', 'RGB;16B'); known only before loading."""
    arguments: object = image.tile[0][3] if image.tile else ""
    if isinstance(arguments, tuple):
        arguments = cast("tuple[object, ...]", arguments)[0]
    return arguments if isinstance(arguments, str) else ""


def _values(path: Path, image: Image.Image, packing: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """(H, W) of a loaded mask."""
    match image.mode:
        case "1":
            return np.array(image).astype(np.uint8)
        case "L":
            values = np.array(image)
            return values // {"L;2": 85, "L;4": 17}.get(packing, 1)
        case "P":
            return np.array(image)
        case mode if mode.startswith("I"):
            return _sixteen_bit(path, image)
        case "RGB" if "16" not in packing:
            red, green, blue = np.moveaxis(np.array(image), 2, 0)
            if np.array_equal(red, green) and np.array_equal(red, blue):
                return red.copy()
        case _:
            pass
    raise _colour_mask(path, image)


def _colour_mask(path: Path, image: Image.Image) -> UnreadableError:
    colours = image.getcolors(maxcolors=256)
    count = "more than 256" if colours is None else str(len(colours))
    kind = {"LA": "a grey mask with transparency", "F": "a mask of float values"}.get(image.mode, "a colour mask")
    return _unreadable(
        path,
        f"{kind} ({image.mode}, {count} distinct values)",
        "index values: a palette or grey PNG whose pixel values are class numbers",
        "Convert its colours to class numbers (`classes:` in data.yaml does not read colours yet).",
    )
