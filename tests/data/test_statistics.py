"""The statistics of bands against plain NumPy."""

from dataclasses import replace

import numpy as np
import pytest
from generated_data import save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atrous.data import statistics
from atrous.data.layouts import open_dataset
from atrous.data.loader import read_pair
from atrous.data.pixels import as_read
from atrous.data.statistics import measure_bands
from atrous.errors import DataError
from band_files import write_bands_set, write_tiff


def stored(root, images, masks):
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        write_tiff(root / "images" / f"a{index}x.tif", image)
        save(root / "masks" / f"a{index}x.png", mask)
    return open_dataset(root)


def expected(images, masks):
    """Range, mean and deviation of each band, over pixels that are finite in all bands and not void."""
    pixels = np.concatenate([image.reshape(-1, image.shape[2]) for image in images]).astype(np.float64)
    valid = np.concatenate([mask.ravel() for mask in masks]) != 255
    pixels = pixels[valid & np.isfinite(pixels).all(axis=1)]
    low, high = np.percentile(pixels, [0.5, 99.5], axis=0)
    clipped = np.clip(pixels, low - (high - low), high + (high - low))
    return np.stack([low, high]), clipped.mean(axis=0), clipped.std(axis=0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), bands=st.sampled_from([2, 5, 16]), holes=st.booleans())
def test_all_pixels_of_few_images(dtype, seed, bands, holes, tmp_path_factory):
    pytest.importorskip("rasterio")
    rng = np.random.default_rng(seed)
    images, masks = [], []
    for _ in range(3):
        size = rng.integers(6, 20, 2)
        image = rng.gamma(2, 20, (*size, bands)) * np.linspace(0.1, 1, bands)
        mask = rng.choice(np.array([0, 1, 255], np.uint8), size)
        mask.flat[:2] = 0, 1
        image = image.astype(dtype)
        if holes and dtype == "float32":
            image[rng.random(size) < 0.2, rng.integers(bands)] = np.nan
        images.append(image)
        masks.append(mask)
    dataset = stored(tmp_path_factory.mktemp("set"), images, masks)
    measured = measure_bands(dataset, [sample for part in dataset.splits.values() for sample in part])
    found = measured.preprocessing
    ranges, mean, std = expected(images, masks)
    rising = ranges[1] > ranges[0]
    np.testing.assert_allclose(found.ranges[:, rising], ranges[:, rising], rtol=1e-9)
    low, high = found.value_range
    if rising.all():
        assert (low, high) == pytest.approx((ranges[0].min(), ranges[1].max()))
        np.testing.assert_allclose(np.array(found.mean) * (high - low) + low, mean, rtol=1e-9)
        np.testing.assert_allclose(np.array(found.std) * (high - low), std, rtol=1e-9)
    assert found.pixels == dtype


def test_normalised_training_images_have_mean_0_and_deviation_1(tmp_path):
    pytest.importorskip("rasterio")
    dataset = open_dataset(write_bands_set(tmp_path, bands=8))
    samples = dataset.splits["train"]
    measured = measure_bands(dataset, samples)
    assert measured.constant == ()
    assert f"{len(samples)} of {len(samples)} training images" in measured.summary
    inputs = [
        measured.preprocessing.prepare(read_pair(sample, dataset, measured.preprocessing)[0]) for sample in samples
    ]
    pixels = np.concatenate([image.reshape(-1, 8) for image in inputs])
    np.testing.assert_allclose(pixels.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(pixels.std(axis=0), 1, atol=1e-4)


def test_one_broken_pixel_moves_nothing_much(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.normal(100, 10, (50, 60, 1)).astype(np.float32) for _ in range(2)]
    images[0][3, 4] = 3e38
    masks = [np.resize(np.array([0, 1], np.uint8), (50, 60))] * 2
    dataset = stored(tmp_path, images, masks)
    found = measure_bands(dataset, [sample for part in dataset.splits.values() for sample in part]).preprocessing
    low, high = found.value_range
    assert found.mean[0] * (high - low) + low == pytest.approx(100, abs=1)
    assert found.std[0] * (high - low) == pytest.approx(10, abs=1)
    assert np.abs(found.prepare(images[0])).max() < 10


def test_bands_of_one_value_and_of_few_others(tmp_path):
    pytest.importorskip("rasterio")
    image = np.full((40, 50, 3), 7, np.uint16)
    image[5, 5, 1] = 900  # far under half a percent
    image[..., 2] = np.arange(50)
    mask = np.resize(np.array([0, 1], np.uint8), (40, 50))
    dataset = stored(tmp_path, [image, image], [mask, mask])
    measured = measure_bands(dataset, dataset.splits["train"])
    assert measured.constant == (1,)
    assert measured.preprocessing.band_ranges[:2] == ((7, 14), (7, 900))
    prepared = measured.preprocessing.prepare(image)
    assert np.isfinite(prepared).all()
    assert not prepared[..., 0].any()


def test_large_sets_are_sampled_by_name_alone(tmp_path, monkeypatch):
    dataset = open_dataset(write_bands_set(tmp_path, bands=1, suffix=".png", count=8))
    samples = [sample for part in dataset.splits.values() for sample in part]
    whole = measure_bands(dataset, samples).preprocessing
    monkeypatch.setattr(statistics, "MOST_IMAGES", 4)
    monkeypatch.setattr(statistics, "MOST_PIXELS", 8000)
    first, second = measure_bands(dataset, samples), measure_bands(dataset, samples)
    assert first == second
    assert first.summary == "8,000 pixels of 4 of 8 training images"
    assert first.preprocessing != whole
    np.testing.assert_allclose(first.preprocessing.ranges, whole.ranges, rtol=0.05)


def test_nothing_to_measure_is_an_error(tmp_path):
    dataset = open_dataset(write_bands_set(tmp_path, bands=1, suffix=".png"))
    for sample in dataset.splits["train"]:
        save(sample.mask, np.full((64, 96), 255, np.uint8))
    with pytest.raises(DataError, match="no pixel that has both"):
        measure_bands(dataset, dataset.splits["train"])


def test_missing_pixels_are_void_and_left_out(tmp_path):
    rng = np.random.default_rng(1)
    image = rng.integers(500, 600, (30, 40, 1)).astype(np.uint16)
    image[:, :20] = 0
    mask = np.resize(np.array([0, 1], np.uint8), (30, 40))
    for index in range(2):
        write_tiff(tmp_path / "images" / f"a{index}x.tif", image, nodata="0")
        save(tmp_path / "masks" / f"a{index}x.png", mask)
    dataset = open_dataset(tmp_path)
    assert dataset.pixels.nodata == 0
    sample = dataset.splits["train"][0]
    _, void = read_pair(sample, dataset, as_read(dataset.pixels))
    assert (void[:, :20] == 255).all()
    np.testing.assert_array_equal(void[:, 20:], mask[:, 20:])
    measured = measure_bands(dataset, [sample]).preprocessing
    assert measured.band_ranges[0][0] >= 500
    assert not measured.prepare(image)[:, :20].round(2).any()
    without = replace(dataset, pixels=replace(dataset.pixels, nodata=None))
    assert measure_bands(without, [sample]).preprocessing.band_ranges[0][0] == 0
