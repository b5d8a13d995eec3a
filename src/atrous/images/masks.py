"""Masks in and out. They go through Pillow only: it alone keeps palette indices."""

from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from atrous.files import write_atomically
from atrous.images.faults import UnreadableError, unreadable
from atrous.images.opening import MAX_PIXELS, ORIENTATION_TAG, opened, orientation
from atrous.images.pictures import sixteen_bit
from atrous.labels import VOID_COLOUR, Labels, voc_palette

__all__ = ["encode_mask", "read_raw_mask", "write_mask"]


def read_raw_mask(path: Path, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read a mask's values as they are stored: (H, W) uint8, or uint16 for 16-bit files.

    Palette files give their indices, 1-bit files 0 and 1, 2- and 4-bit grey files 0-3 and 0-15 (Pillow would spread
    them over 0-255). RGB with three equal channels is read as grey. EXIF turns are not applied; a mask that has one is
    refused, because it is unknown which of the two its maker meant.

    Raises ImageError for what `read_image` refuses, and for colour masks, masks with transparency, JPEG and WebP.
    """
    with opened(path, max_pixels=max_pixels) as (image, _):
        _refuse_lossy(path, image)
        packing = _packing(image)
        turn = (
            cast("TiffImagePlugin.TiffImageFile", image).tag_v2.get(ORIENTATION_TAG, 1) if image.format == "TIFF" else 1
        )
        image.load()
        if turn != 1 or (image.format != "TIFF" and orientation(image) != 1):
            raise unreadable(
                path,
                "a mask with an EXIF turn",
                "a mask without one, pixel for pixel as its upright image",
                "Save it again upright, without EXIF.",
            )
        return _values(path, image, packing)


def write_mask(path: Path, label_map: NDArray[np.integer[Any]], labels: Labels) -> None:
    """Write a label map (H, W) of class numbers as palette PNG: see `encode_mask`.

    Raises ValueError for a value that is neither a class nor the ignore index, OutputError when it cannot be written.
    """
    write_atomically(path, encode_mask(label_map, labels))


def encode_mask(label_map: NDArray[np.integer[Any]], labels: Labels, *, effort: int = 6) -> bytes:
    """A palette PNG of a label map (H, W) of class numbers: index = class, in the colours of `labels`.

    The ignore index is drawn in VOC's border colour. Above 256 values it is a 16-bit grey PNG. Nothing of the
    picture's metadata (EXIF, GPS) is in it. `effort` is zlib's, 0 to 9.

    Raises ValueError for a value that is neither a class nor the ignore index.
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


def _refuse_lossy(path: Path, image: ImageFile.ImageFile) -> None:
    kind = "JPEG" if "jpeg" in str(image.info.get("compression", "")) else image.format
    if kind in ("JPEG", "MPO", "WEBP"):
        name = "WebP" if kind == "WEBP" else "JPEG"
        raise unreadable(
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
            return sixteen_bit(path, image)
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
    return unreadable(
        path,
        f"{kind} ({image.mode}, {count} distinct values)",
        "index values: a palette or grey PNG whose pixel values are class numbers",
        "Convert its colours to class numbers (`classes:` in data.yaml does not read colours yet).",
    )
