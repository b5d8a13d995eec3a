"""LabelMe JSON: the regions of one image, to be corrected by hand."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.annotations.keyholes import cut_open
from atrous.files import write_atomically
from atrous.regions import Outline

__all__ = ["write_labelme"]

VERSION = "5.0.0"  # of LabelMe's form; programs compare its first number with their own


def write_labelme(path: Path, image: Path, size: tuple[int, int], outlines: Sequence[Outline]) -> None:
    """Write the regions of an image of `size` (height, width) as polygons; the image is named, not copied.

    LabelMe's polygons have no holes: holes are cut open by slits without width (`atrous.annotations.keyholes`). The
    largest regions come first, so that what is painted later lies on top.

    Raises OutputError.
    """
    content = {
        "version": VERSION,
        "flags": {},
        "shapes": [_shape(outline) for outline in outlines],
        "imagePath": _relative(image, path.parent),
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    write_atomically(path, json.dumps(content).encode())


def _shape(outline: Outline) -> dict[str, Any]:
    confidence = outline.region.mean_confidence
    return {
        "label": outline.region.class_name,
        "points": cut_open(outline.rings),
        "group_id": None,
        "description": "" if confidence is None else f"mean confidence {confidence:.2f}",
        "shape_type": "polygon",
        "flags": {},
    }


def _relative(image: Path, folder: Path) -> str:
    """The image as seen from the folder, with slashes; whole where no way leads there (another drive)."""
    try:
        return Path(os.path.relpath(image, folder)).as_posix()
    except ValueError:
        return image.absolute().as_posix()
