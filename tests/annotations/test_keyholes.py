"""One ring in place of several: the same area, the same pixels, and each hole reached by a slit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.annotations.keyholes import cut_open
from atrous.regions import outlines
from label_maps import LABELS, MAPS, blobs, doubled_area, filled


def turning_number_inside(points, shape):
    """Pixels whose centres the ring goes around once or more: the other rule by which programs fill."""
    found = np.zeros(shape, int)
    rows = np.arange(shape[0]) + 0.5
    for (x0, y0), (x1, y1) in pairwise([*points, points[0]]):
        if x0 == x1:
            passed = (rows > min(y0, y1)) & (rows < max(y0, y1))
            found[passed, int(x0) :] += 1 if y1 < y0 else -1
    return found


@settings(deadline=None)
@given(MAPS)
def test_the_ring_surrounds_the_region(label_map):
    for outline in outlines(label_map, LABELS):
        points = cut_open(outline.rings)
        assert doubled_area([*points, points[0]]) == 2 * outline.region.area_pixels
        inside = filled([ring.tolist() for ring in outline.rings], label_map.shape)
        np.testing.assert_array_equal(filled([points], label_map.shape), inside)
        np.testing.assert_array_equal(turning_number_inside(points, label_map.shape), inside)
        assert all(one != other for one, other in pairwise([*points, points[0]])), "a point stands twice in a row"
        assert all(0 <= x <= label_map.shape[1] and 0 <= y <= label_map.shape[0] for x, y in points)


@given(MAPS)
def test_slits_lie_within_the_region(label_map):
    """Straight up from a hole's top, through the region's own pixels or along its border."""
    for outline in outlines(label_map, LABELS):
        own = np.pad(filled([ring.tolist() for ring in outline.rings], label_map.shape), 1)
        for (x0, y0), (x1, y1) in pairwise(cut_open(outline.rings)):
            assert x0 == x1 or y0 == y1
            low, high = int(min(y0, y1)) + 1, int(max(y0, y1)) + 1
            if x0 == x1:
                assert (own[low:high, int(x0)] | own[low:high, int(x0) + 1]).all()


def test_a_hole_is_joined_to_what_is_above_it():
    label_map = np.zeros((5, 6), np.uint8)
    label_map[2, 2:4] = 1
    outer = outlines(label_map, LABELS)[0]
    assert cut_open(outer.rings) == [
        [0, 0], [2, 0], [2, 2], [2, 3], [4, 3], [4, 2], [2, 2], [2, 0], [6, 0], [6, 5], [0, 5],
    ]  # fmt: skip


def test_slits_at_one_edge_are_met_in_the_order_of_going():
    """The right hole is higher, so it is cut open first; but the ring comes past the left one first."""
    label_map = np.zeros((6, 7), np.uint8)
    label_map[1, 4] = label_map[3, 1] = 1
    outer = outlines(label_map, LABELS)[0]
    assert cut_open(outer.rings) == [
        [0, 0], [1, 0], [1, 3], [1, 4], [2, 4], [2, 3], [1, 3], [1, 0],
        [4, 0], [4, 1], [4, 2], [5, 2], [5, 1], [4, 1], [4, 0], [7, 0], [7, 6], [0, 6],
    ]  # fmt: skip


def test_thousands_of_holes():
    label_map = np.zeros((160, 160), np.uint8)
    label_map[1:-1:2, 1:-1:2] = 1
    outer = outlines(label_map, LABELS)[0]
    points = cut_open(outer.rings)
    assert len(outer.rings) == 1 + 79 * 79
    np.testing.assert_array_equal(filled([points], label_map.shape), label_map == 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2.5, 6]))
def test_simplified_regions_keep_their_area(seed, tolerance):
    pytest.importorskip("shapely")
    for outline in outlines(blobs((40, 50), cell=5, seed=seed), LABELS, simplify=tolerance):
        points = cut_open(outline.rings)
        area = sum(doubled_area(ring.tolist()) for ring in outline.rings)
        assert doubled_area([*points, points[0]]) == pytest.approx(area)
