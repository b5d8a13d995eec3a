"""Polygons in map coordinates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import ConfigError
from atrous.regions import polygons
from label_maps import LABELS, MAPS, doubled_area, rings_of

NORTH_UP = (0.5, 0, 600_000, 0, -0.5, 5_800_000)  # half a metre a pixel, rows go south
NUMBERS = st.sampled_from([-3.0, -0.5, 0.25, 1.0, 2.0])


def test_a_pixel_lies_where_the_transform_says():
    label_map = np.array([[255, 255], [255, 1]], np.uint8)
    (feature,) = polygons(label_map, LABELS, transform=NORTH_UP)
    (ring,) = rings_of(feature)
    west, east, south, north = 600_000.5, 600_001.0, 5_799_999.0, 5_799_999.5
    assert {tuple(point) for point in ring} == {(west, north), (east, north), (east, south), (west, south)}
    assert feature["properties"]["area_pixels"] == 1


@given(MAPS, NUMBERS, NUMBERS, st.sampled_from([0.0, 0.125]), st.sampled_from([0.0, -0.125]))
def test_areas_scale_and_outer_rings_stay_counterclockwise(label_map, a, e, b, d):
    transform = (a, b, 7, d, e, -9)
    scale = abs(a * e - b * d)
    for feature in polygons(label_map, LABELS, transform=transform):
        rings = rings_of(feature)
        assert all((doubled_area(ring) > 0) == (number == 0) for number, ring in enumerate(rings))
        assert all(ring[0] == ring[-1] for ring in rings)
        area = sum(doubled_area(ring) for ring in rings) / 2
        assert area == pytest.approx(scale * feature["properties"]["area_pixels"])


@pytest.mark.parametrize(
    "transform", [(1, 0, 0, 0, 1), (1, 0, 0, 0, float("nan"), 0), (1, 1, 0, 1, 1, 0), (0, 0, 0, 0, 0, 0)]
)
def test_a_transform_that_is_none(transform):
    with pytest.raises(ConfigError, match="expected six numbers"):
        polygons(np.zeros((2, 2), np.uint8), LABELS, transform=transform)
