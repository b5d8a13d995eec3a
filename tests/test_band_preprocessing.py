"""Preprocessing of images that are not RGB: what is missing, what is clipped, and what is shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from atrous.errors import ImageError
from atrous.preprocessing import Preprocessing


def prepared(bands=2, pixels="float32", nodata=None):
    return Preprocessing.of_bands(
        pixels,
        ranges=tuple((100.0 * band, 100.0 * band + 50) for band in range(1, bands + 1)),
        mean=tuple(100.0 * band + 20 for band in range(1, bands + 1)),
        std=tuple(5.0 * band for band in range(1, bands + 1)),
        nodata=nodata,
    )


def test_statistics_in_pixel_values_become_fractions_of_one_range():
    made = prepared()
    assert made.value_range == (100, 250)
    np.testing.assert_allclose(made.neutral_colour(), [120, 220])
    image = np.array([[[125, 230]]], np.float32)
    np.testing.assert_allclose(made.normalise(image), [[[1, 1]]], rtol=1e-5)


@given(hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(width=32)))
def test_any_floats_give_finite_inputs_by_the_plain_rule(image):
    made = prepared()
    with np.errstate(invalid="ignore", over="ignore"):
        clipped = np.clip(image.astype(np.float64), [50, 150], [200, 300])
        expected = np.where(np.isfinite(image), (clipped - [120, 220]) / [5, 10], 0)
    np.testing.assert_allclose(made.prepare(image), expected, atol=1e-4)
    missing = made.missing(image)
    holes = ~np.isfinite(image).all(axis=2)
    np.testing.assert_array_equal(holes, np.zeros_like(holes) if missing is None else missing)


def test_nothing_is_copied_where_nothing_is_wrong():
    image = np.full((4, 5, 2), 210, np.float32)
    image[..., 0] = 120
    assert prepared().cleaned(image) is image
    photo = np.zeros((4, 5, 3), np.uint8)
    assert Preprocessing().cleaned(photo) is photo
    assert Preprocessing().as_picture(photo) is photo
    assert Preprocessing(nodata=0).missing(photo) is None


def test_whole_numbers_are_clipped_within_their_type_and_nodata_is_neutral():
    made = Preprocessing.of_bands("uint16", ranges=((10.5, 60_000.0),), mean=(900.0,), std=(300.0,), nodata=0)
    image = np.array([[[0], [3], [65_535], [900]]], np.uint16)
    cleaned = made.cleaned(image)
    assert cleaned.dtype == np.uint16
    assert cleaned[0, :, 0].tolist() == [900, 3, 65_535, 900]
    assert made.missing(image).tolist() == [[True, False, False, False]]
    assert made.prepare(image)[0, 0, 0] == 0


def test_nodata_in_one_of_the_bands_is_a_value():
    made = prepared(pixels="uint16", nodata=0)
    image = np.array([[[0, 200], [0, 0]]], np.uint16)
    assert made.missing(image).tolist() == [[False, True]]


def test_missing_values_do_not_spread_when_the_image_is_resized():
    made = prepared(bands=1)
    image = np.full((8, 8, 1), 130, np.float32)
    image[2:4, 2:4] = np.nan
    smaller = made.scaled(0.5).prepare(image)
    assert np.isfinite(smaller).all()
    assert smaller[-1, -1, 0] == pytest.approx(2)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pictures_show_three_bands_over_their_ranges(dtype):
    made = prepared(bands=4, pixels=dtype)
    image = np.array([[[100, 200, 300, 0], [150, 250, 350, 0], [125, 225, 325, 9], [0, 999, 310, 9]]], dtype)
    assert made.as_picture(image).tolist() == [[[0, 0, 0], [255, 255, 255], [128, 128, 128], [0, 255, 51]]]


@pytest.mark.parametrize("bands", [1, 2])
def test_pictures_of_fewer_bands_are_grey(bands):
    image = np.full((3, 4, bands), 110, np.float32)
    image[0, 0] = np.nan
    image[0, 1] = np.inf
    picture = prepared(bands=bands).as_picture(image)
    assert picture.shape == (3, 4, 3)
    assert picture[0, :2].max() == 0
    assert (picture[1:] == 51).all()


def test_images_of_other_bands_are_refused_by_name():
    with pytest.raises(ImageError, match=r"shape \(3, 4, 5\) was given to a model of 2 bands"):
        prepared().prepare(np.zeros((3, 4, 5), np.float32))
    with pytest.raises(ImageError, match="2 bands"):
        prepared().prepare(np.zeros((3, 4), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": "int8"}, "pixels are 'int8'"),
        ({"nodata": 0.5}, "whole number"),
        ({"nodata": float("nan")}, "whole number"),
        ({"band_ranges": ((0, 1),)}, "for each of 3 bands"),
        ({"band_ranges": ((0, 1), (1, 1), (0, 1))}, "rising"),
        ({"band_ranges": ((0, 1), (0, float("inf")), (0, 1))}, "finite"),
    ],
)
def test_what_contradicts_itself_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**change)
