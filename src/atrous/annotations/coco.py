"""COCO JSON: the regions of all images in one file."""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

from atrous.annotations.run_lengths import compress, run_lengths
from atrous.labels import Labels
from atrous.regions import Outline
from atrous.version import __version__

__all__ = ["CocoFile"]


class CocoFile:
    """Writes images one by one. Until `finish`, the stream holds no whole JSON; some 150 bytes an image are kept.

    Category k + 1 is class k, as COCO's ids begin at 1. A region without holes is a polygon. COCO's polygons have no
    holes, so one with holes is a compressed run-length mask, which stays exact where polygons are simplified.
    """

    NAME = "coco.json"

    def __init__(self, stream: BinaryIO, labels: Labels) -> None:
        self._stream = stream
        self._images: list[str] = []
        self._regions = 0
        info = {"description": "regions of predicted label maps", "contributor": f"atrous {__version__}"}
        categories = [{"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(labels.names)]
        self._write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"categories": {json.dumps(categories)},\n')
        self._write('"annotations": [')

    def add(self, name: str, size: tuple[int, int], outlines: Sequence[Outline]) -> None:
        """Write an image of `size` (height, width): the regions at once, `name` at the end."""
        image_id = len(self._images) + 1
        image = {"id": image_id, "file_name": name, "height": size[0], "width": size[1]}
        self._images.append(json.dumps(image))
        for outline in outlines:
            self._write(",\n" if self._regions else "\n")
            self._regions += 1
            annotation = {"id": self._regions, "image_id": image_id, **_annotation(outline, size)}
            self._write(json.dumps(annotation))

    def finish(self) -> None:
        """Write the end of the file."""
        self._write('\n],\n"images": [\n' + ",\n".join(self._images) + "\n]}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text.encode())


def _annotation(outline: Outline, size: tuple[int, int]) -> dict[str, Any]:
    region = outline.region
    top, left, bottom, right = region.box
    found: dict[str, Any] = {
        "category_id": region.class_id + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": region.area_pixels,
        "iscrowd": 0,
    }
    if region.mean_confidence is not None:
        found["score"] = round(region.mean_confidence, 4)
    if len(outline.rings) == 1:
        found["segmentation"] = [outline.rings[0][:-1].reshape(-1).tolist()]
    else:
        lengths = run_lengths(outline.exact, (0, 0, *size), by_column=True)
        found["segmentation"] = {"size": list(size), "counts": compress(lengths)}
    return found
