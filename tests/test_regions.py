from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from atrous.errors import DataError
from atrous.labels import Labels
from atrous.regions import class_table, count_pixels, find_regions, polygons

LABELS = Labels.numbered(3)
MAPS = arrays.arrays(
    np.uint8,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
    elements=st.sampled_from([0, 0, 1, 1, 2, 255]),
)


def doubled_area(ring: list[list[int]]) -> int:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))


def filled(rings: list[list[list[int]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels with an odd number of upright edges to their left."""
    edges = np.zeros((shape[0], shape[1] + 1), np.uint8)
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            if x0 == x1:
                edges[min(y0, y1) : max(y0, y1), x0] ^= 1
    return np.bitwise_xor.accumulate(edges, axis=1)[:, :-1].astype(bool)


def rings_of(feature: dict[str, Any]) -> list[list[list[int]]]:
    return feature["geometry"]["coordinates"]


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
