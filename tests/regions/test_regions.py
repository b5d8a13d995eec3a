"""Regions and exact polygons of label maps."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import ConfigError, DataError
from atrous.labels import Labels
from atrous.regions import class_table, class_tags, count_pixels, find_regions, polygons
from label_maps import LABELS, MAPS, blobs, doubled_area, filled, rings_of


@given(MAPS)
def test_areas_of_polygons_are_their_pixel_counts(label_map):
    for feature in polygons(label_map, LABELS):
        assert sum(doubled_area(ring) for ring in rings_of(feature)) == 2 * feature["properties"]["area_pixels"]


@given(MAPS)
def test_polygons_rasterise_back_to_the_map(label_map):
    again = np.full(label_map.shape, 255, np.uint8)
    for feature in polygons(label_map, LABELS):
        inside = filled(rings_of(feature), label_map.shape)
        assert inside.sum() == feature["properties"]["area_pixels"]
        assert (again[inside] == 255).all(), "two polygons overlap"
        again[inside] = feature["properties"]["class_id"]
    np.testing.assert_array_equal(again, label_map)


@given(MAPS)
def test_rings_are_closed_simple_and_turned_the_right_way(label_map):
    for feature in polygons(label_map, LABELS):
        for number, ring in enumerate(rings_of(feature)):
            assert ring[0] == ring[-1]
            assert len({tuple(point) for point in ring}) == len(ring) - 1, "the ring touches itself"
            assert (doubled_area(ring) > 0) == (number == 0), "outer first and positive, holes negative"
            # Level and upright edges take turns, so no point lies on a straight line.
            upright = [x0 == x1 for (x0, _), (x1, _) in pairwise(ring)]
            assert all(one != other for one, other in pairwise([*upright, upright[0]]))


@given(MAPS)
def test_regions_and_void_make_up_the_image(label_map):
    regions = find_regions(label_map, LABELS)
    assert sum(region.area_pixels for region in regions) + (label_map == 255).sum() == label_map.size
    for region in regions:
        top, left, bottom, right = region.box
        part = label_map[top:bottom, left:right] == region.class_id
        assert part.sum() >= region.area_pixels
        assert part[0].any()
        assert part[-1].any()
        assert part[:, 0].any()
        assert part[:, -1].any()
        assert top <= region.centroid[0] <= bottom - 1
        assert left <= region.centroid[1] <= right - 1


@given(MAPS)
def test_regions_and_polygons_are_the_same_in_the_same_order(label_map):
    regions = [(region.class_id, region.class_name, region.area_pixels) for region in find_regions(label_map, LABELS)]
    assert regions == [tuple(feature["properties"].values()) for feature in polygons(label_map, LABELS)]


@given(MAPS, st.integers(1, 9))
def test_least_area_leaves_out_smaller_regions_only(label_map, least):
    every = find_regions(label_map, LABELS)
    assert find_regions(label_map, LABELS, min_area=least) == [r for r in every if r.area_pixels >= least]
    kept = polygons(label_map, LABELS, min_area=least)
    assert kept == [f for f in polygons(label_map, LABELS) if f["properties"]["area_pixels"] >= least]


def test_a_hole_is_a_ring_of_its_own():
    label_map = np.zeros((5, 6), np.uint8)
    label_map[2, 2:4] = 1
    outer, inner = polygons(label_map, LABELS)
    assert rings_of(outer) == [
        [[0, 0], [6, 0], [6, 5], [0, 5], [0, 0]],
        [[2, 2], [2, 3], [4, 3], [4, 2], [2, 2]],
    ]
    assert inner["properties"] == {"class_id": 1, "class_name": "class_1", "area_pixels": 2}


def test_corners_do_not_connect():
    label_map = np.array([[1, 0], [0, 1]], np.uint8)
    assert [region.area_pixels for region in find_regions(label_map, LABELS)] == [1, 1, 1, 1]


def test_one_region_in_numbers():
    label_map = np.full((6, 8), 255, np.uint16)
    label_map[1:4, 2:7] = 2
    (region,) = find_regions(label_map, LABELS)
    assert region.as_row() == {
        "class_id": 2,
        "class_name": "class_2",
        "area_pixels": 15,
        "top": 1,
        "left": 2,
        "bottom": 4,
        "right": 7,
        "centroid_y": 2.0,
        "centroid_x": 4.0,
    }


def test_a_map_of_void_only_has_no_regions():
    assert find_regions(np.full((3, 3), 255, np.uint8), LABELS) == []
    assert polygons(np.full((3, 3), 255, np.uint8), LABELS) == []


@given(MAPS)
def test_the_table_counts_every_pixel_that_is_not_void(label_map):
    rows = class_table(label_map, LABELS)
    assert sum(row["pixels"] for row in rows) == (label_map != 255).sum()
    assert sum(row["share"] for row in rows) == pytest.approx((label_map != 255).mean())
    assert [row["pixels"] for row in rows] == sorted((row["pixels"] for row in rows), reverse=True)
    assert all(row["pixels"] == (label_map == row["class_id"]).sum() > 0 for row in rows)


@pytest.mark.parametrize("function", [count_pixels, class_table, find_regions, polygons])
def test_an_unknown_value_is_named_with_its_place(function):
    label_map = np.zeros((4, 5), np.int64)
    label_map[2, 3] = 7
    with pytest.raises(DataError, match=r"holds 7 at \(y=2, x=3\), expected 0-2 or 255"):
        function(label_map, LABELS)
    label_map[2, 3] = -1
    with pytest.raises(DataError, match="holds -1 at"):
        function(label_map, LABELS)


@pytest.mark.parametrize("function", [count_pixels, class_table, find_regions, polygons])
@pytest.mark.parametrize("wrong", [np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3)), np.zeros(4, np.uint8)])
def test_what_is_no_label_map_is_refused(function, wrong):
    with pytest.raises(DataError, match="expected \\(height, width\\) class ids"):
        function(wrong, LABELS)


def test_more_than_256_classes():
    labels = Labels.numbered(300)
    label_map = np.full((4, 4), 299, np.uint16)
    label_map[0] = labels.ignore_index
    assert class_table(label_map, labels) == [{"class_id": 299, "class_name": "class_299", "pixels": 12, "share": 0.75}]
    assert polygons(label_map, labels)[0]["properties"]["class_id"] == 299


def counted_by_opencv(label_map):
    """Class, area, box and centroid of every region, one class after the other."""
    found = []
    for class_id in range(LABELS.num_classes):
        inside = (label_map == class_id).astype(np.uint8)
        _, _, stats, centroids = cv2.connectedComponentsWithStats(inside, connectivity=4)
        for (x, y, across, down, area), (column, row) in zip(stats[1:].tolist(), centroids[1:].tolist(), strict=True):
            found.append((class_id, area, (y, x, y + down, x + across), (round(row, 9), round(column, 9))))
    return sorted(found)


def as_counted(regions):
    return sorted(
        (region.class_id, region.area_pixels, region.box, tuple(round(place, 9) for place in region.centroid))
        for region in regions
    )


@given(MAPS)
def test_regions_are_those_that_opencv_finds(label_map):
    assert as_counted(find_regions(label_map, LABELS)) == counted_by_opencv(label_map)


@pytest.mark.parametrize("cell", [2, 9, 40])
def test_large_regions_are_those_that_opencv_finds(cell):
    label_map = blobs((150, 210), cell=cell, void=0.02)
    assert as_counted(find_regions(label_map, LABELS)) == counted_by_opencv(label_map)


def test_a_winding_band_is_one_region():
    """Long, up and down: it takes many rounds of joining."""
    label_map = np.zeros((40, 81), np.uint8)
    label_map[:, ::2] = 1
    label_map[0, 1::4] = label_map[-1, 3::4] = 1
    assert len([region for region in find_regions(label_map, LABELS) if region.class_id == 1]) == 1
    assert as_counted(find_regions(label_map, LABELS)) == counted_by_opencv(label_map)


@given(MAPS, st.integers(0, 99))
def test_mean_confidence_is_the_mean_over_a_regions_pixels(label_map, seed):
    confidence = np.random.default_rng(seed).random(label_map.shape, np.float32)
    regions = find_regions(label_map, LABELS, confidence=confidence)
    features = polygons(label_map, LABELS, confidence=confidence)
    for region, feature in zip(regions, features, strict=True):
        inside = filled(rings_of(feature), label_map.shape)
        assert region.mean_confidence == pytest.approx(confidence[inside].mean(dtype=np.float64), rel=1e-12)
        assert feature["properties"]["mean_confidence"] == round(region.mean_confidence, 4)


def test_physical_area_has_the_unit_it_was_given_in():
    label_map = np.array([[0, 0, 1]], np.uint8)
    large, small = find_regions(label_map, LABELS, pixel_area=0.25, area_unit="mm2")
    assert (large.area, large.area_unit, small.area) == (0.5, "mm2", 0.25)
    assert large.as_row()["area"] == 0.5
    assert polygons(label_map, LABELS, pixel_area=0.25)[0]["properties"] == {
        "class_id": 0,
        "class_name": "class_0",
        "area_pixels": 2,
        "area": 0.5,
        "area_unit": "m2",
    }
    assert "area" not in find_regions(label_map, LABELS)[0].as_row()


@pytest.mark.parametrize("pixel_area", [0, -1, float("nan"), float("inf")])
def test_a_pixel_covers_a_positive_area(pixel_area):
    with pytest.raises(ConfigError, match="expected a positive number"):
        find_regions(np.zeros((2, 2), np.uint8), LABELS, pixel_area=pixel_area)


def test_a_confidence_of_another_image_is_refused():
    with pytest.raises(DataError, match="expected the same height and width"):
        find_regions(np.zeros((2, 2), np.uint8), LABELS, confidence=np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_an_empty_map_has_no_regions(shape):
    assert find_regions(np.zeros(shape, np.uint8), LABELS) == []
    assert polygons(np.zeros(shape, np.uint8), LABELS) == []


def test_tags_are_the_classes_above_a_share():
    label_map = np.zeros((10, 20), np.uint8)
    label_map[0, :2] = 2  # 1 %
    label_map[1, :6] = 1  # 3 %
    table = class_table(label_map, LABELS)
    assert list(class_tags(table)) == ["class_0", "class_1"]
    assert class_tags(table, least=0.005) == {"class_0": 0.96, "class_1": 0.03, "class_2": 0.01}


def test_classes_of_one_name_are_one_tag():
    label_map = np.array([[0] * 50 + [1] * 30 + [2] * 20], np.uint8)
    table = class_table(label_map, Labels(names=("road", "car", "road")))
    assert class_tags(table) == {"road": pytest.approx(0.7), "car": 0.3}
