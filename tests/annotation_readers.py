"""Small readers of what the writers wrote: each gives the label map back."""

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from atrous.labels import Labels
from atrous.regions import outlines
from label_maps import filled

LabelMap = NDArray[np.integer]


def written(kind: type, maps: dict[str, LabelMap], labels: Labels, **options: Any) -> bytes:
    """The file of all images that a writer makes of label maps by name."""
    stream = io.BytesIO()
    file = kind(stream, labels)
    for name, label_map in maps.items():
        file.add(name, label_map.shape, outlines(label_map, labels, **options))
    file.finish()
    return stream.getvalue()


def painted(shape: tuple[int, int], labels: Labels) -> LabelMap:
    return np.full(shape, labels.ignore_index, np.uint16 if labels.num_classes > 256 else np.uint8)


def paint(label_map: LabelMap, inside: NDArray[np.bool_], class_id: int, void: int) -> None:
    assert (label_map[inside] == void).all(), "two regions overlap"
    label_map[inside] = class_id


def from_runs(lengths: list[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Row after row, outside first."""
    values = np.arange(len(lengths)) % 2 == 1
    assert sum(lengths) == shape[0] * shape[1]
    return np.repeat(values, lengths).reshape(shape)


def decompressed(counts: str) -> list[int]:
    """COCO's run lengths, by its C code (`rleFrString`)."""
    lengths: list[int] = []
    at = 0
    while at < len(counts):
        value = digit = 0
        more = True
        while more:
            bits = ord(counts[at]) - 48
            value |= (bits & 31) << (5 * digit)
            more = bool(bits & 32)
            at += 1
            digit += 1
            if not more and bits & 16:
                value |= -1 << (5 * digit)
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
    return lengths


def points(numbers: list[float]) -> list[list[float]]:
    return [list(pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]


def read_coco(content: bytes, labels: Labels) -> dict[str, LabelMap]:
    data = json.loads(content)
    assert [category["name"] for category in data["categories"]] == list(labels.names)
    images = {image["id"]: image for image in data["images"]}
    maps = {key: painted((image["height"], image["width"]), labels) for key, image in images.items()}
    for annotation in data["annotations"]:
        label_map = maps[annotation["image_id"]]
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            inside = from_runs(decompressed(segmentation["counts"]), (width, height)).T
        else:
            inside = filled([points(ring) for ring in segmentation], label_map.shape)
        assert inside.sum() == annotation["area"]
        rows, columns = np.nonzero(inside)
        left, top, across, down = annotation["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + across, top + down) == (columns.max() + 1, rows.max() + 1)
        paint(label_map, inside, annotation["category_id"] - 1, labels.ignore_index)
    return {images[key]["file_name"]: label_map for key, label_map in maps.items()}


def read_cvat(content: bytes, labels: Labels) -> dict[str, LabelMap]:
    root = ElementTree.fromstring(content)
    names = [element.text or "" for element in root.findall("meta/task/labels/label/name")]
    assert root.findtext("version") == "1.1"
    maps: dict[str, LabelMap] = {}
    for number, image in enumerate(root.findall("image")):
        assert image.get("id") == str(number)
        label_map = painted((int(image.get("height", 0)), int(image.get("width", 0))), labels)
        for shape in image:
            if shape.tag == "mask":
                left, top, width, height = (int(shape.get(key, "")) for key in ("left", "top", "width", "height"))
                runs = [int(run) for run in shape.get("rle", "").split(",")]
                inside = np.zeros(label_map.shape, np.bool_)
                inside[top : top + height, left : left + width] = from_runs(runs, (height, width))
            else:
                pairs = [[float(place) for place in pair.split(",")] for pair in shape.get("points", "").split(";")]
                inside = filled([pairs], label_map.shape)
            paint(label_map, inside, names.index(shape.get("label", "")), labels.ignore_index)
        maps[image.get("name", "")] = label_map
    return maps


def read_labelme(path: Path, labels: Labels) -> LabelMap:
    data = json.loads(path.read_bytes())
    label_map = painted((data["imageHeight"], data["imageWidth"]), labels)
    for shape in data["shapes"]:
        assert shape["shape_type"] == "polygon"
        inside = filled([shape["points"]], label_map.shape)
        paint(label_map, inside, labels.names.index(shape["label"]), labels.ignore_index)
    return label_map
