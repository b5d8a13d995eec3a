"""Augmentation of images of any bands: each band as if it were alone."""

import dataclasses

import cv2
import numpy as np
import pytest

from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation, apply_view, draw_view, finish_view, plain_view, warp_view
from band_files import values

SIZE = (40, 56)


def scaled(dtype, bands):
    top = {"uint8": 255.0, "uint16": 65_535.0, "float32": 300.0}[dtype]
    low = -300.0 if dtype == "float32" else 0.0
    return Preprocessing.of_bands(
        dtype,
        ranges=tuple((low, top - band) for band in range(bands)),
        mean=tuple((low + top) / 2 + band for band in range(bands)),
        std=tuple(top / (3 + band) for band in range(bands)),
    )


def one_band(whole, band):
    low, high = whole.value_range
    return Preprocessing.of_bands(
        whole.pixels,
        ranges=(whole.band_ranges[band],),
        mean=(low + whole.mean[band] * (high - low),),
        std=(whole.std[band] * (high - low),),
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 6, 8, 16])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_view_of_many_bands_is_the_view_of_each(dtype, bands):
    image = scaled(dtype, bands).cleaned(
        cv2.GaussianBlur(values((*SIZE, bands), dtype), (0, 0), 2).reshape(*SIZE, bands)
    )
    mask = values(SIZE, "uint8")
    augmentation = Augmentation(crop_size=(32, 48), rotation=20, brightness=0.3, contrast=0.3, blur=0.5)
    whole = scaled(dtype, bands)
    for seed in range(4):
        view = draw_view(augmentation, SIZE, np.random.default_rng(seed))
        together, label_map = apply_view(view, image, mask, preprocessing=whole, ignore_index=255)
        assert together.shape == (32, 48, bands)
        assert together.dtype == np.float32
        for band in range(bands):
            alone, alone_map = apply_view(
                view, image[..., band : band + 1], mask, preprocessing=one_band(whole, band), ignore_index=255
            )
            np.testing.assert_allclose(together[..., band], alone[..., 0], atol=2e-5)
            np.testing.assert_array_equal(label_map, alone_map)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_plain_view_is_what_prediction_sees(dtype):
    made = scaled(dtype, 5)
    image = made.cleaned(values((*SIZE, 5), dtype))
    seen, _ = apply_view(plain_view(SIZE), image, np.zeros(SIZE, np.uint8), preprocessing=made, ignore_index=255)
    np.testing.assert_array_equal(seen, made.prepare(image))


def test_outside_of_the_image_every_band_is_neutral():
    made = scaled("float32", 7)
    view = draw_view(Augmentation(crop_size=(90, 90), scale=(1, 1)), SIZE, np.random.default_rng(0))
    image = np.full((*SIZE, 7), 200, np.float32)
    warped, label_map = warp_view(view, image, np.zeros(SIZE, np.uint8), preprocessing=made, ignore_index=255)
    outside = cv2.erode((label_map == 255).astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert outside.any()
    assert np.abs(finish_view(view, warped, preprocessing=made)[outside]).max() < 1e-5


def test_light_changes_fractions_of_each_bands_range_alike():
    made = scaled("float32", 6)
    image = made.cleaned(values((8, 9, 6), "float32"))
    view = dataclasses.replace(plain_view((8, 9)), gain=np.array([1.2, 9, 9]), offset=-0.1, jpeg=50, saturation=0.3)
    low, high = made.ranges
    fractions = (image - low) / (high - low) * 1.2 - 0.1
    expected = made.normalise(low + fractions * (high - low))
    np.testing.assert_allclose(finish_view(view, image, preprocessing=made), expected, atol=1e-5)
