"""What is written for other programs reads back to the same label map."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from annotation_readers import read_coco, read_cvat, read_labelme, written
from atrous.annotations import CocoFile, CvatFile, write_geojson, write_labelme
from atrous.labels import Labels
from atrous.regions import outlines, polygons
from label_maps import LABELS, MAPS, blobs, filled, rings_of

HOSTILE = (
    "<script>alert('x')</script>",
    'a "b" & c',
    "line\nbreak\tand tab",
    "=cmd|' /C calc'!A0",
    "ünï 雪 🌲",
    "]]>",
    "",
)


def nested(side=41):
    """Rings within rings, holes that touch each other and the border at corners, a comb, and void."""
    y, x = np.indices((side, side))
    label_map = (np.maximum(abs(y - side // 2), abs(x - side // 2)) // 3 % 3).astype(np.uint8)
    label_map[5:12:2, 5:12:2] = 2
    label_map[6:12:2, 6:12:2] = 2
    label_map[-9:-1:2, 3:30] = 1
    label_map[20:24, 17:19] = 255
    return label_map


MANY = Labels.numbered(300)
EXAMPLES = {
    "nested": (nested(), LABELS),
    "blobs": (blobs((60, 80), cell=9, void=0.03), LABELS),
    "one class": (np.zeros((5, 7), np.uint8), Labels(names=("all",))),
    "void": (np.full((4, 6), 255, np.uint8), LABELS),
    "300 classes": (np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) // 2 % 300, MANY),
    "hostile names": (np.random.default_rng(0).integers(0, 7, (12, 15), np.uint8), Labels(names=HOSTILE)),
}
old_numpy_protocol = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools' own
each_example = pytest.mark.parametrize(("label_map", "labels"), EXAMPLES.values(), ids=list(EXAMPLES))


def labelme_of(label_map, labels):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        write_labelme(path, Path(folder) / "a.jpg", label_map.shape, outlines(label_map, labels))
        return read_labelme(path, labels)


@settings(deadline=None)
@given(MAPS)
def test_random_maps(label_map):
    for kind, read in ((CocoFile, read_coco), (CvatFile, read_cvat)):
        np.testing.assert_array_equal(read(written(kind, {"a": label_map}, LABELS), LABELS)["a"], label_map)
    np.testing.assert_array_equal(labelme_of(label_map, LABELS), label_map)


@each_example
def test_coco(label_map, labels):
    np.testing.assert_array_equal(read_coco(written(CocoFile, {"a": label_map}, labels), labels)["a"], label_map)


@each_example
def test_cvat(label_map, labels):
    np.testing.assert_array_equal(read_cvat(written(CvatFile, {"a": label_map}, labels), labels)["a"], label_map)


@each_example
def test_labelme(label_map, labels):
    np.testing.assert_array_equal(labelme_of(label_map, labels), label_map)


@each_example
def test_geojson(label_map, labels, tmp_path):
    write_geojson(tmp_path / "a.geojson", polygons(label_map, labels))
    again = np.full(label_map.shape, labels.ignore_index, label_map.dtype)
    for feature in json.loads((tmp_path / "a.geojson").read_text())["features"]:
        assert feature["properties"]["class_name"] == labels.names[feature["properties"]["class_id"]]
        again[filled(rings_of(feature), label_map.shape)] = feature["properties"]["class_id"]
    np.testing.assert_array_equal(again, label_map)


@old_numpy_protocol
@each_example
def test_pycocotools_reads_coco(label_map, labels):
    """The reference's own decoder, for polygons and masks alike."""
    masks = pytest.importorskip("pycocotools.mask")
    again = np.full(label_map.shape, labels.ignore_index, label_map.dtype)
    data = json.loads(written(CocoFile, {"a": label_map}, labels))
    for annotation in data["annotations"]:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            segmentation = masks.merge(masks.frPyObjects(segmentation, *label_map.shape))
        again[masks.decode(segmentation).astype(bool)] = annotation["category_id"] - 1
        assert masks.area(segmentation) == annotation["area"]
        assert masks.toBbox(segmentation).tolist() == annotation["bbox"]
        if isinstance(annotation["segmentation"], dict):  # the very text that pycocotools writes
            whole = np.asfortranarray(masks.decode(segmentation))
            assert masks.encode(whole)["counts"].decode() == annotation["segmentation"]["counts"]
    np.testing.assert_array_equal(again, label_map)


@old_numpy_protocol
@settings(deadline=None)
@given(MAPS)
def test_pycocotools_reads_random_masks(label_map):
    masks = pytest.importorskip("pycocotools.mask")
    for annotation in json.loads(written(CocoFile, {"a": label_map}, LABELS))["annotations"]:
        if isinstance(annotation["segmentation"], dict):
            whole = np.asfortranarray(masks.decode(annotation["segmentation"]))
            assert masks.encode(whole)["counts"].decode() == annotation["segmentation"]["counts"]


def test_several_images_keep_their_order_and_ids():
    maps = {"b/2.jpg": blobs((9, 9), cell=4), "a.png": np.full((3, 3), 255, np.uint8), "ü.jpg": nested()}
    assert list(read_coco(written(CocoFile, maps, LABELS), LABELS)) == list(maps)
    data = json.loads(written(CocoFile, maps, LABELS))
    assert [annotation["id"] for annotation in data["annotations"]] == [*range(1, len(data["annotations"]) + 1)]
    assert [image["id"] for image in data["images"]] == [1, 2, 3]
    assert [category["id"] for category in data["categories"]] == [1, 2, 3]
    for name, label_map in read_cvat(written(CvatFile, maps, LABELS), LABELS).items():
        np.testing.assert_array_equal(label_map, maps[name])


def test_no_image_and_no_region_are_valid_files():
    assert read_coco(written(CocoFile, {}, LABELS), LABELS) == {}
    assert read_cvat(written(CvatFile, {}, LABELS), LABELS) == {}


def test_masks_stay_exact_where_polygons_are_simplified():
    pytest.importorskip("shapely")
    label_map = nested()
    data = json.loads(written(CocoFile, {"a": label_map}, LABELS, simplify=2))
    exact = json.loads(written(CocoFile, {"a": label_map}, LABELS))
    for simple, before in zip(data["annotations"], exact["annotations"], strict=True):
        assert simple["area"] == before["area"]
        if isinstance(before["segmentation"], dict):
            assert simple["segmentation"] == before["segmentation"]
    assert len(json.dumps(data)) < len(json.dumps(exact))


def test_signs_that_xml_cannot_hold_are_replaced():
    labels = Labels(names=("a\x00b\x1b\ud800\uffff\r",))
    content = written(CvatFile, {"\x07.jpg": np.zeros((2, 2), np.uint8)}, labels)
    assert list(read_cvat(content, Labels(names=("a\ufffdb" + "\ufffd" * 4,)))) == ["\ufffd.jpg"]


def test_confidence_is_said():
    label_map = np.zeros((3, 4), np.uint8)
    confidence = np.full((3, 4), 0.75, np.float32)
    data = json.loads(written(CocoFile, {"a": label_map}, LABELS, confidence=confidence))
    assert data["annotations"][0]["score"] == 0.75
