"""Simplified polygons are valid, stay near the exact ones, and neither overlap nor leave gaps. Shapely is the judge."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import ConfigError, MissingExtraError
from atrous.regions import outlines, polygons
from label_maps import LABELS, MAPS, blobs

shapely = pytest.importorskip("shapely")
from shapely.geometry import shape  # noqa: E402

TOLERANCES = st.sampled_from([0.25, 0.5, 1, 1.5, 3, 10, 100])
ROUNDING = 1e-6


def shapes(features):
    return [shape(feature["geometry"]) for feature in features]


def check(label_map, tolerance):
    exact, simple = (shapes(polygons(label_map, LABELS, simplify=simplify)) for simplify in (0, tolerance))
    assert len(exact) == len(simple)
    for before, after in zip(exact, simple, strict=True):
        assert after.is_valid
        assert after.exterior.is_ccw
        assert len(after.interiors) == len(before.interiors)
        # No border moves by more than the tolerance, so the area changes by no more than a band along it.
        assert shapely.hausdorff_distance(before.boundary, after.boundary, densify=0.1) <= tolerance + ROUNDING
        assert before.symmetric_difference(after).area <= tolerance * before.length + ROUNDING
    total = sum(polygon.area for polygon in simple)
    covered = shapely.union_all(simple).area if simple else 0
    assert total == pytest.approx(covered), "two polygons overlap"
    if not (label_map == 255).any():
        assert total == pytest.approx(label_map.size), "there is a gap"


@settings(deadline=None)
@given(MAPS, TOLERANCES)
def test_small_maps(label_map, tolerance):
    check(label_map, tolerance)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 6, 15]), st.sampled_from([0.0, 0.03]), TOLERANCES)
def test_maps_like_a_networks(seed, cell, void, tolerance):
    check(blobs((40, 60), cell=cell, seed=seed, void=void), tolerance)


@settings(deadline=None)
@given(MAPS, st.integers(2, 9), TOLERANCES)
def test_regions_that_are_left_out_are_not_covered(label_map, least, tolerance):
    simple = shapes(polygons(label_map, LABELS, min_area=least, simplify=tolerance))
    every = shapes(polygons(label_map, LABELS, simplify=tolerance))
    assert sum(polygon.area for polygon in simple) <= sum(polygon.area for polygon in every) + ROUNDING


def test_zero_is_exact_and_needs_no_shapely(monkeypatch):
    monkeypatch.setitem(sys.modules, "shapely", None)
    label_map = blobs((30, 30), cell=7)
    assert polygons(label_map, LABELS, simplify=0) == polygons(label_map, LABELS)
    with pytest.raises(MissingExtraError, match=r"pip install 'atrous\[geo\]'"):
        polygons(label_map, LABELS, simplify=1)


def test_a_slanted_border_becomes_a_line_for_both_sides():
    label_map = np.tri(20, 20, dtype=np.uint8)
    lower, upper = polygons(label_map, LABELS, simplify=1)
    assert lower["geometry"]["coordinates"] == [[[0, 0], [1, 0], [20, 19], [20, 20], [0, 20], [0, 0]]]
    assert upper["geometry"]["coordinates"] == [[[1, 0], [20, 0], [20, 19], [1, 0]]]
    assert lower["properties"]["area_pixels"] == 210, "what is measured stays the exact region's"


def test_far_fewer_points_are_left():
    label_map = blobs((200, 300), cell=25)
    exact = sum(len(ring) for outline in outlines(label_map, LABELS) for ring in outline.rings)
    simple = outlines(label_map, LABELS, simplify=1.5)
    assert sum(len(ring) for outline in simple for ring in outline.rings) < exact / 4
    assert sum(len(ring) for outline in simple for ring in outline.exact) == exact


def test_a_larger_tolerance_leaves_fewer_points():
    """Where borders would cross, only these keep more points, not all of a region's."""
    label_map = blobs((150, 200), cell=9)
    counts = [
        sum(len(ring) for outline in outlines(label_map, LABELS, simplify=tolerance) for ring in outline.rings)
        for tolerance in (0, 0.8, 1.5, 3, 6)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0] / 5


def test_pictures_keep_their_corners():
    (feature,) = polygons(np.zeros((3, 4), np.uint8), LABELS, simplify=50)
    assert feature["geometry"]["coordinates"] == [[[0, 0], [4, 0], [4, 3], [0, 3], [0, 0]]]


THIN_VOID = """
    000000000
    00  00000
    0    0000
      11  0
     1111   1
    111111111
    111111111
    111111111
    111111111
    111111111
"""
TURNED_OVER = """
    0 2 00
    1 02101
    001110
    200000
    0200000
    022 00
    212000
"""


def drawn(rows):
    """A map from a drawing; blanks are void."""
    lines = [line[4:].ljust(9) for line in rows.strip("\n").splitlines()]
    width = max(len(line.rstrip()) for line in lines)
    return np.array([[255 if sign == " " else int(sign) for sign in line[:width]] for line in lines], np.uint8)


@pytest.mark.parametrize(
    ("rows", "tolerance"),
    [
        (THIN_VOID, 3),  # each border alone may cross the void between the two, which is a piece of the picture too
        (TURNED_OVER, 8),  # a border turns over: its outline is valid, but is wound the wrong way
    ],
)
def test_borders_that_a_tolerance_of_their_own_does_not_keep_apart(rows, tolerance):
    check(drawn(rows), tolerance)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_a_tolerance_that_is_none(tolerance):
    with pytest.raises(ConfigError, match="expected a tolerance in pixels"):
        polygons(np.zeros((2, 2), np.uint8), LABELS, simplify=tolerance)
