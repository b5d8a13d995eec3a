"""What a file's pixels are, told from its header alone: how many bands, of which number type."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import TiffImagePlugin

from atrous.images.faults import unreadable
from atrous.images.opening import ORIENTATION_TAG, recognised

__all__ = ["PHOTO", "PixelKind", "StoredPixels", "pixel_kind", "stored_pixels"]

NumberType = Literal["uint8", "uint16", "float32"]

# Tags and values of TIFF 6.0, and GDAL's own for the value that means "no data".
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT = 256, 257, 258, 262, 277, 338, 339
_GDAL_NODATA = 42113
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_BY_PILLOW = {(_UNSIGNED, 16), (_SIGNED, 16), (_FLOAT, 32)}
"""(Sample format, bits) of one-band TIFF files that Pillow reads without loss or mistake."""
_ALPHA = (1, 2)
_COLOUR_SAMPLES = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
"""Samples that a picture of a photometric interpretation has: grey, RGB, palette, CMYK, YCbCr and Lab."""

_PNG_COLOUR_SAMPLES = {0: 1, 2: 3, 4: 1, 6: 3}  # PNG, section 11.2.2, without alpha
_PNG_ALPHA = (4, 6)


@dataclass(frozen=True, kw_only=True)
class PixelKind:
    """The bands of a file and their number type.

    float32 stands for every type but bytes and unsigned 16-bit numbers: signed 16-bit numbers are in it exactly, those of
    32 and 64 bits are rounded.

    `is_photo` says that the file is what cameras and drawing programs write: 8 bits, grey, palette, RGB or CMYK, with
    or without transparency. All these are read as RGB. `nodata` is the whole number that stands for a missing pixel.
    """

    bands: int = 3
    dtype: NumberType = "uint8"
    is_photo: bool = True
    nodata: float | None = None

    def __str__(self) -> str:
        return "RGB in 8 bits" if self.is_photo else f"{self.bands} band{'s'[: self.bands != 1]} of {self.dtype}"


PHOTO = PixelKind()


@dataclass(frozen=True, kw_only=True)
class StoredPixels:
    """A header: the `kind` without transparency, and how the file stores its pixels.

    `samples` counts transparency too. `size` is (height, width) as stored, before it is turned upright by `turn` (an
    EXIF orientation); None where the header was not read for it: a photo's. `nodata` may be of any kind. `by_pillow` says
    that Pillow reads these numbers as they are.
    """

    kind: PixelKind
    format: str
    samples: int
    size: tuple[int, int] | None = None
    turn: int = 1
    nodata: float | None = None
    by_pillow: bool = False


def pixel_kind(path: Path) -> PixelKind:
    """What the pixels of a file are.

    A file whose header says nothing that can be read as TIFF or PNG counts as a photo: its fault is told when it is read.

    Raises:
        ImageError: no such file, not an image, or number types that no picture has (complex numbers).
    """
    return stored_pixels(path).kind


def stored_pixels(path: Path) -> StoredPixels:
    """What a file's header says of its pixels; see `pixel_kind`."""
    with recognised(path) as (name, _, file):
        if name == "PNG":
            return _of_png(file)
        if name == "TIFF":
            return _of_tiff(path, file)
        return StoredPixels(kind=PHOTO, format=name, samples=3)


def _of_png(file: BinaryIO) -> StoredPixels:
    """From the first chunk, which is always the header: size, bit depth, colour type."""
    head = file.read(26)
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    colours = _PNG_COLOUR_SAMPLES.get(head[25]) if len(head) == 26 and head[12:16] == b"IHDR" else None
    if colours is None or head[24] != 16:
        return StoredPixels(kind=PHOTO, format="PNG", samples=3)
    kind = PixelKind(bands=colours, dtype="uint16", is_photo=False)
    samples = colours + (head[25] in _PNG_ALPHA)
    return StoredPixels(kind=kind, format="PNG", samples=samples, size=(height, width))


def _of_tiff(path: Path, file: BinaryIO) -> StoredPixels:
    """From the tags of the first page."""
    tags = _tags(file)
    samples = _number(tags, _SAMPLES, 1)
    bits, form = _number(tags, _BITS, 1), _number(tags, _FORMAT, _UNSIGNED)
    photometric = _number(tags, _PHOTOMETRIC, 1)
    extra = tags.get(_EXTRA, ())
    alpha = sum(value in _ALPHA for value in (extra if isinstance(extra, tuple) else (extra,)))
    colours = samples - alpha
    is_photo = bits <= 8 and form == _UNSIGNED and colours == _COLOUR_SAMPLES.get(photometric) and alpha <= 1
    dtype, nodata = _number_type(path, bits, form), _nodata(tags)
    whole = nodata if nodata is not None and nodata.is_integer() and dtype != "float32" else None
    bands = colours if colours > 0 else samples
    return StoredPixels(
        kind=PHOTO if is_photo else PixelKind(bands=bands, dtype=dtype, is_photo=False, nodata=whole),
        format="TIFF",
        samples=samples,
        size=(_number(tags, _HEIGHT, 0), _number(tags, _WIDTH, 0)),
        turn=_number(tags, ORIENTATION_TAG, 1),
        nodata=nodata,
        by_pillow=samples == 1 and (form, bits) in _BY_PILLOW,
    )


def _tags(file: BinaryIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of the first page, as Pillow reads them before it knows whether it can read the pixels."""
    head = file.read(8)
    if head[2] == 43:  # BigTIFF
        head += file.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(head)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _number(tags: TiffImagePlugin.ImageFileDirectory_v2, tag: int, default: int) -> int:
    """A tag's number, the first of several (bits and formats are the same for all samples that are read)."""
    value: Any = tags.get(tag, default)
    if isinstance(value, tuple):
        value = value[0] if value else default
    return int(value)


def _number_type(path: Path, bits: int, form: int) -> NumberType:
    if form == _UNSIGNED and bits <= 16:
        return "uint8" if bits <= 8 else "uint16"
    if form in (_UNSIGNED, _SIGNED, _FLOAT):
        return "float32"
    raise unreadable(path, f"complex or undefined numbers (sample format {form})", "real numbers", "Convert it.")


def _nodata(tags: TiffImagePlugin.ImageFileDirectory_v2) -> float | None:
    try:
        return float(str(tags.get(_GDAL_NODATA, "")).strip("\0 "))
    except ValueError:
        return None
