"""What a data set's images are read as, and what `check` says of images that differ."""

import dataclasses

import numpy as np
import pytest
from generated_data import folder, picture, save
from PIL import Image

from atrous.data.audit import audit
from atrous.data.fingerprint import fingerprint
from atrous.data.layouts import open_dataset
from atrous.data.pixels import as_read, choose_pixels, fits_data, kind_read_by
from atrous.errors import DataError, MissingExtraError
from atrous.images import PHOTO, PixelKind
from atrous.preprocessing import Preprocessing
from band_files import values, write_bands_set, write_png, write_tiff


def note(dataset):
    return next((line for line in dataset.notes if line.startswith("Images: ")), None)


def described(root, text):
    (root / "data.yaml").write_text(f"train: {{images: images, masks: masks}}\nnames: {{0: a, 1: b}}\n{text}")
    return open_dataset(root)


def test_rgb_images_need_no_word(tmp_path):
    dataset = open_dataset(folder(tmp_path))
    assert dataset.pixels == PHOTO
    assert note(dataset) is None


@pytest.mark.parametrize(
    ("bands", "dtype", "suffix"),
    [(8, "uint16", ".tif"), (1, "uint16", ".png"), (2, "uint8", ".tif"), (3, "float32", ".tif")],
)
def test_the_headers_decide_and_it_is_told(bands, dtype, suffix, tmp_path):
    dataset = open_dataset(write_bands_set(tmp_path, bands=bands, dtype=dtype, suffix=suffix))
    assert dataset.pixels == PixelKind(bands=bands, dtype=dtype, is_photo=False)
    assert note(dataset).startswith(f"Images: {bands} band{'s' if bands > 1 else ''} of {dtype}, because the headers")


def test_most_of_the_first_images_decide(tmp_path):
    write_bands_set(tmp_path, bands=1, suffix=".png")
    save(tmp_path / "images" / "tile1x.png", picture(0, (64, 96)))
    dataset = open_dataset(tmp_path)
    assert str(dataset.pixels) == "1 band of uint16"
    assert "5 of the first 6 are" in note(dataset)


def test_a_data_file_can_say_it(tmp_path):
    write_bands_set(tmp_path, bands=1, suffix=".png")
    dataset = described(tmp_path, "bands: rgb\n")
    assert dataset.pixels == PHOTO
    assert "as asked" in note(dataset)
    assert str(described(tmp_path, "bands: 1\n").pixels) == "1 band of uint16"
    with pytest.raises(DataError, match=r"bands is 4, but none of the first 6 images .*found: 1 band of uint16"):
        described(tmp_path, "bands: 4\n")
    for wrong in ("0", "true", "2.5", "many", "[1]"):
        with pytest.raises(DataError, match="number of bands"):
            described(tmp_path, f"bands: {wrong}\n")


def test_grey_photographs_can_be_one_band(tmp_path):
    write_bands_set(tmp_path, bands=1, suffix=".png")
    for path in (tmp_path / "images").iterdir():
        Image.fromarray(picture(0, (64, 96))).convert("L").save(path)
    assert open_dataset(tmp_path).pixels == PHOTO
    assert described(tmp_path, "bands: 1\n").pixels == PixelKind(bands=1, dtype="uint8", is_photo=False)


def test_a_setting_replaces_what_the_headers_say(tmp_path):
    dataset = open_dataset(write_bands_set(tmp_path, bands=1, suffix=".png"))
    other = choose_pixels(dataset, "rgb")
    assert other.pixels == PHOTO
    assert len([line for line in other.notes if line.startswith("Images: ")]) == 1
    assert fingerprint(other) != fingerprint(dataset)
    plain = dataclasses.replace(dataset, pixels=PHOTO)
    assert fingerprint(plain) == fingerprint(dataclasses.replace(plain, notes=()))


def test_images_that_cannot_be_read_do_not_decide(tmp_path):
    write_bands_set(tmp_path, bands=1, suffix=".png")
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"nothing")
    assert open_dataset(tmp_path).pixels == PHOTO


@pytest.mark.parametrize("kind", [PHOTO, PixelKind(bands=5, dtype="float32", is_photo=False, nodata=None)])
def test_kind_and_preprocessing_agree(kind):
    assert kind_read_by(as_read(kind)) == kind
    assert fits_data(as_read(kind), kind)
    assert not fits_data(None, kind)
    assert not fits_data(Preprocessing(bands=5, mean=(0,) * 5, std=(1,) * 5, pixels="uint16"), kind)


def codes(result):
    return [(finding.code, finding.severity, finding.file) for finding in result.findings]


def test_images_of_other_bands_or_depth_are_errors(tmp_path):
    pytest.importorskip("rasterio")
    write_bands_set(tmp_path, bands=8, count=7)
    images = tmp_path / "images"
    write_tiff(images / "tile1x.tif", values((64, 96, 5), "uint16"))
    write_tiff(images / "tile2x.tif", values((64, 96, 8), "uint8"))
    (images / "tile3x.tif").unlink()
    save(images / "tile3x.png", picture(0, (64, 96)))
    result = audit(open_dataset(tmp_path))
    assert [item for item in codes(result) if item[0] == "D009"] == [
        ("D009", "error", f"images/tile{name}") for name in ("1x.tif", "2x.tif", "3x.png")
    ]
    assert [finding.found for finding in result.findings] == ["5 bands of uint16", "8 bands of uint8", "RGB in 8 bits"]
    assert "8 bands of uint16" in result.findings[0].expected


def test_a_deep_image_among_rgb_images_is_an_error_unless_rgb_is_asked_for(tmp_path):
    folder(tmp_path, suffix=".png", values=(0, 1))
    write_png(tmp_path / "images" / "photo1x.png", values((12, 16, 1), "uint16"))
    assert codes(audit(open_dataset(tmp_path))) == [("D009", "error", "images/photo1x.png")]
    assert codes(audit(described(tmp_path, "bands: rgb\n"))) == []


def test_nan_is_a_warning_with_its_place_and_count(tmp_path):
    pytest.importorskip("rasterio")
    write_bands_set(tmp_path, bands=2, dtype="float32")
    broken = values((64, 96, 2), "float32")
    broken[10, 20, 1] = np.nan
    broken[11, 21, 0] = -np.inf
    write_tiff(tmp_path / "images" / "tile4x.tif", broken)
    result = audit(open_dataset(tmp_path))
    assert codes(result) == [("D010", "warning", "images/tile4x.tif")]
    assert result.findings[0].place == "y=10, x=20"
    assert "2 of 6144 pixels" in result.findings[0].found
    assert sum(split.missing_pixels for split in result.splits.values()) == 2
    assert sum(split.missing_images for split in result.splits.values()) == 1


def test_a_missing_package_is_said_once(tmp_path, monkeypatch):
    dataset = open_dataset(write_bands_set(tmp_path, bands=8))
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match="geo"):
        audit(dataset)
