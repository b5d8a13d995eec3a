"""Models of any bands: their files, what they take, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import atrous
from atrous.checkpoint import load_model, save_model
from atrous.errors import ImageError, WeightsError
from atrous.images import read_image
from atrous.labels import Labels
from atrous.models import deeplabv3plus_mobilenet_v2
from atrous.preprocessing import Preprocessing
from atrous.tensors import write_tensors
from band_files import values, write_png, write_tiff

LABELS = Labels(names=("a", "b"))


def network(bands):
    torch.manual_seed(0)
    return deeplabv3plus_mobilenet_v2(2, in_channels=bands, aspp_channels=8, decoder_channels=8, separable=True)


def scaling(bands, pixels="uint16"):
    return Preprocessing.of_bands(
        pixels,
        ranges=tuple((10.25 + band, 4000.0 + band) for band in range(bands)),
        mean=tuple(1000.0 + band for band in range(bands)),
        std=tuple(300.0 + band for band in range(bands)),
        nodata=0 if pixels == "uint16" else None,
    )


def header(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["atrous"])["preprocessing"]


@pytest.mark.parametrize(("bands", "pixels"), [(8, "uint16"), (1, "uint16"), (3, "float32"), (16, "uint8")])
def test_a_model_file_keeps_how_pixels_are_read_and_scaled(bands, pixels, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, network(bands), labels=LABELS, preprocessing=scaling(bands, pixels))
    assert load_model(path).preprocessing == scaling(bands, pixels)
    assert header(path)["pixels"] == pixels


def test_the_file_of_an_rgb_model_is_as_it_was(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, network(3), labels=LABELS, preprocessing=Preprocessing())
    assert sorted(header(path)) == sorted("bands value_range mean std resize resize_to resize_scale pad_to".split())
    assert load_model(path).preprocessing == Preprocessing()


def test_a_header_of_contradicting_bands_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, network(2), labels=LABELS, preprocessing=scaling(2))
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        document = json.loads(file.metadata()["atrous"])
    document["preprocessing"]["band_ranges"] = [[0, 1]]
    write_tensors(path, tensors, key="atrous", document=document)
    with pytest.raises(WeightsError, match="band ranges"):
        load_model(path)


def model(bands, pixels="uint16"):
    return atrous.Model(network(bands), labels=LABELS, preprocessing=scaling(bands, pixels), device="cpu")


def test_a_file_and_its_array_are_the_same(tmp_path):
    pytest.importorskip("rasterio")
    image = (values((40, 50, 8), "uint16") % 4000).astype(np.uint16)
    opened = model(8)
    by_file = opened.predict(write_tiff(tmp_path / "x.tif", image))
    by_array = opened.predict(image)
    np.testing.assert_array_equal(by_file.scores, by_array.scores)
    np.testing.assert_array_equal(by_file.image, image)
    assert by_file.picture().shape == (40, 50, 3)
    assert by_file.overlay(legend=False).shape == (40, 50, 3)
    assert by_file.missing_pixels == 0
    assert "img" in by_file._repr_html_()


def test_one_band_takes_plain_and_pillow_images(tmp_path):
    image = (values((40, 50), "uint16") % 4000).astype(np.uint16)
    opened = model(1)
    expected = opened.predict(image[..., None]).scores
    for given in (image, Image.fromarray(image), write_png(tmp_path / "x.png", image[..., None])):
        np.testing.assert_array_equal(opened.predict(given).scores, expected)


def test_missing_pixels_are_counted_and_change_nothing_else():
    image = values((40, 50, 2), "float32") + 1000
    broken = image.copy()
    broken[3:5, 7] = np.nan
    opened = model(2, "float32")
    found = opened.predict(broken)
    assert found.missing_pixels == 2
    assert np.isfinite(found.scores).all()
    neutral = broken.copy()
    neutral[3:5, 7] = [1000, 1001]
    np.testing.assert_allclose(opened.predict(neutral).scores, found.scores, atol=1e-6)
    zero = model(2).predict(np.zeros((40, 50, 2), np.uint16))
    assert zero.missing_pixels == 2000


@pytest.mark.parametrize(
    ("shape", "dtype", "pixels"),
    [
        ((40, 50, 3), "uint16", "uint16"),
        ((40, 50), "uint16", "uint16"),
        ((40, 50, 8), "uint8", "uint16"),
        ((40, 50, 8), "int32", "uint16"),
        ((40, 50, 8), "uint16", "float32"),
        ((40, 50, 8), "uint16", "uint8"),
    ],
)
def test_other_arrays_are_refused_and_both_sides_named(shape, dtype, pixels):
    with pytest.raises(ImageError, match=rf"{dtype} and shape .* a model of 8 bands of {pixels}"):
        model(8, pixels).predict(np.zeros(shape, dtype))


def test_floats_of_any_precision_are_taken():
    image = np.round(values((40, 50, 2), "float64")) + 1000
    opened = model(2, "float32")
    np.testing.assert_array_equal(opened.predict(image).label_map, opened.predict(image.astype(np.float32)).label_map)


def test_an_rgb_model_reads_16_bit_grey_as_it_always_did(tmp_path):
    path = write_png(tmp_path / "x.png", values((40, 50, 1), "uint16"))
    opened = atrous.Model(network(3), labels=LABELS, device="cpu")
    np.testing.assert_array_equal(opened.predict(path).image, read_image(path))
    np.testing.assert_array_equal(opened.predict(path).scores, opened.predict(read_image(path)).scores)
