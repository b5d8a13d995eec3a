"""Any band, any depth, all the way: through the command line from files to masks."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import atrous as library
from atrous.data.layouts import open_dataset
from atrous.data.loader import read_pair
from band_files import values, write_bands_set, write_tiff
from tiny_training import TINY_NETWORK

SHORT = ["enlarge=1", "validations=1", "tune_images=2"]
OPTIONS = ["--batch", "2", "--crop", "48", "64", "--device", "cpu"]


def test_eight_bands_of_uint16_from_reading_to_prediction(atrous, tmp_path):
    pytest.importorskip("rasterio")
    data = write_bands_set(tmp_path / "tiles", bands=8, dtype="uint16")
    code, out, err = atrous("check", data)
    assert code == 0, out
    assert "Images: 8 bands of uint16, because the headers of the first 6 say so" in err

    code, _, err = atrous("train", data, *TINY_NETWORK, *SHORT, "rate=0.003", *OPTIONS, "--epochs", "8", "--out", "run")
    assert code == 0, err
    for told in (
        "the network reads 8 bands of uint16",
        "saturation, tint are left out of the augmentation",
        "pixels are scaled by each band's mean and deviation in",
    ):
        assert told in err
    run = tmp_path / "run"
    assert (run / "report.html").read_text().count("data:image/jpeg") >= 1
    with Image.open(run / "worst" / "1.jpg") as worst:
        assert np.asarray(worst).std() > 10

    model = library.load(run, device="cpu")
    assert model.network.settings["in_channels"] == 8
    assert (model.preprocessing.bands, model.preprocessing.pixels) == (8, "uint16")
    stored = yaml.safe_load((run / "config.yaml").read_text())["preprocessing"]
    assert stored["pixels"] == "uint16"
    assert np.array(stored["band_ranges"]).shape == (8, 2)

    code, out, err = atrous("evaluate", run, data, "--json")
    assert code == 0, err
    scores = json.loads(out)
    assert scores["miou"] > 0.8
    assert scores["miou"] == pytest.approx(json.loads((run / "metrics.json").read_text())["miou"])

    code, out, err = atrous("predict", run, data / "images", "--out", "predicted", "--save", "mask,overlay,polygons")
    assert code == 0, err
    dataset = open_dataset(data)
    for sample in dataset.splits["val"]:
        image, _ = read_pair(sample, dataset, model.preprocessing)
        with Image.open(tmp_path / "predicted" / f"{sample.image.stem}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), model.predict(image).label_map)
    assert len(list((tmp_path / "predicted").iterdir())) == 18

    code, out, err = atrous("info", run)
    assert "8 bands of uint16" in out
    assert "band 8 " in out

    other = write_tiff(tmp_path / "five.tif", values((64, 96, 5), "uint16"))
    photo = tmp_path / "photo.png"
    Image.fromarray(values((64, 96, 3), "uint8")).save(photo)
    code, out, err = atrous("predict", run, other, photo, data / "images" / "tile0x.tif", "--out", "more")
    assert code == 1
    assert f"{other}: 5 bands of uint16; expected 8 bands of uint16." in err
    assert f"{photo}: 3 bands of uint8; expected 8 bands of uint16." in err
    assert "Traceback" not in err
    assert len((tmp_path / "more" / "errors.jsonl").read_text().splitlines()) == 2


def test_one_band_of_twelve_bits_in_a_16_bit_png(atrous, tmp_path):
    data = write_bands_set(tmp_path / "scans", bands=1, dtype="uint16", suffix=".png")
    code, _, err = atrous("train", data, *TINY_NETWORK, *SHORT, *OPTIONS, "--epochs", "1", "--out", "run")
    assert code == 0, err
    assert "Images: 1 band of uint16" in err
    model = library.load(tmp_path / "run")
    low, high = model.preprocessing.band_ranges[0]
    assert 400 < low < 550
    assert 550 < high < 700
    image = data / "images" / "tile0x.png"
    assert np.ptp(model.predict(image).picture()) == 255  # by 1/257 all of it would be 2
    code, _, err = atrous("predict", "run", image, "--out", "predicted")
    assert code == 0, err

    code, _, err = atrous("train", data, *TINY_NETWORK, *SHORT, "bands=rgb", *OPTIONS, "--epochs", "1", "--out", "old")
    assert code == 0, err
    assert "read as RGB in 8 bits, as asked" in err
    old = library.load(tmp_path / "old")
    assert old.preprocessing.pixels == "rgb"
    assert old.predict(image).image.max() < 4
    code, _, err = atrous("evaluate", "old", data, "--json")
    assert code == 0, err
    assert "The model reads RGB in 8 bits, so the images are read as that." in err


def test_floats_with_holes(atrous, tmp_path):
    pytest.importorskip("rasterio")
    data = write_bands_set(tmp_path / "heights", bands=2, dtype="float32", holes=3)
    code, out, err = atrous("check", data)
    assert code == 0
    assert out.count("D010 warning") == 6
    code, _, err = atrous("train", data, *TINY_NETWORK, *SHORT, *OPTIONS, "--epochs", "1", "--out", "run")
    assert code == 0, err
    assert "90 pixels of 6 images are no numbers" in err
    assert "D010" not in err
    code, out, err = atrous("predict", "run", data / "images", "--out", "predicted")
    assert code == 0
    assert err.count("warning: ") == 6
    assert f"{data / 'images' / 'tile0x.tif'}: 15 of 6144 pixels hold no number" in err
    code, out, err = atrous("evaluate", "run", data, "--json")
    scores = json.loads(out)
    assert np.isfinite(scores["loss"])
    assert np.sum(scores["confusion"]) == scores["images"] * (64 * 96 - 15)


def test_a_stopped_training_on_bands_resumes_with_the_same_scaling(atrous, tmp_path):
    data = write_bands_set(tmp_path / "scans", bands=1, suffix=".png")
    code, _, err = atrous("train", data, *TINY_NETWORK, *SHORT, *OPTIONS, "--epochs", "1", "--out", "run")
    assert code == 0, err
    run = tmp_path / "run"
    first = library.load(run)
    weights = {name: value.clone() for name, value in first.network.state_dict().items()}
    assert yaml.safe_load((run / "config.yaml").read_text())["settings"]["network"]["in_channels"] == 1
    for name in ("metrics.json", "model.safetensors", "last/state.safetensors", "last/previous.safetensors"):
        (run / name).unlink(missing_ok=True)  # as if it had been killed before it first saved
    code, _, err = atrous("train", "--resume", "run")
    assert code == 0, err
    assert "begins anew" in err
    again = library.load(run)
    assert again.preprocessing == first.preprocessing
    assert all(torch.equal(weights[name], value) for name, value in again.network.state_dict().items())


def test_a_model_of_rgb_goes_on_with_other_bands(atrous, scenes, trained, tmp_path):
    pytest.importorskip("rasterio")
    data = write_bands_set(tmp_path / "tiles", bands=5)
    weights = trained / "model.safetensors"
    code, _, err = atrous(
        "train", data, "--weights", weights, "--set", *SHORT, *OPTIONS, "--epochs", "1", "--out", "run"
    )
    assert code == 0, err
    assert "was made for 3 bands and adapted to 5: taken in turn, times 3/5" in err
    assert "the first convolution, adapted to 5 bands, is trained too" in err
    five = tmp_path / "run" / "model.safetensors"
    code, _, err = atrous("train", data, "--weights", five, "--set", *SHORT, *OPTIONS, "--epochs", "1", "--out", "next")
    assert code == 0, err
    assert "pixels are scaled as the weights' model file says" in err
    first, second = (library.load(tmp_path / name).preprocessing for name in ("run", "next"))
    assert first == second
    code, _, err = atrous("train", data, *TINY_NETWORK, "network.in_channels=4", *SHORT, *OPTIONS, "--epochs", "1")
    assert code == 2
    assert "network.in_channels is 4, but the images are read as 5 bands of uint16" in err
