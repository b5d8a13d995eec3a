"""A window read alone is the same part of the file read whole."""

import numpy as np
import pytest
from generated_data import mask, picture, save
from PIL import Image

from atrous.data import reading
from atrous.data.loader import read_pair
from atrous.data.masks import read_mask
from atrous.data.reading import file_sizes, read_pixels, read_values, values_by_piece
from atrous.data.samples import Dataset, Sample
from atrous.errors import DataError, ImageError
from atrous.images import read_image, read_raw_mask
from atrous.labels import Labels
from atrous.preprocessing import Preprocessing

WINDOWS = [(0, 40, 0, 50), (3, 20, 7, 50), (39, 40, 0, 1)]
THREE = Labels.numbered(3)


@pytest.fixture
def tiff(tmp_path):
    pytest.importorskip("rasterio")
    return lambda array, **options: save(tmp_path / "file.tif", array, **options)


def cropped(array, window):
    top, bottom, left, right = window
    return array[top:bottom, left:right]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_of_images(tmp_path, mode, window):
    pytest.importorskip("rasterio")
    path = tmp_path / "image.tif"
    pixels = picture(3, (40, 50))
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 250 + pixels[..., 1]).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path, compression="tiff_lzw")
    read = read_pixels(path, Preprocessing(), window)
    assert read.flags.c_contiguous
    assert read.dtype == np.uint8
    assert np.array_equal(read, cropped(read_image(path), window))
    assert np.array_equal(read_pixels(path, Preprocessing()), read_image(path))


def test_windows_of_sixteen_bit_colour(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 40, 50), dtype=np.uint16)
    place = rasterio.Affine(1, 0, 5, 0, -1, 6)
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=50, count=3, dtype="uint16", photometric="rgb", transform=place
    ) as file:
        file.write(pixels)
    for window in WINDOWS:
        assert np.array_equal(read_pixels(path, Preprocessing(), window), cropped(read_image(path), window))


@pytest.mark.parametrize("kind", ["L", "1", "P", "I;16", "RGB"])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_of_masks(tmp_path, kind, suffix, window):
    pytest.importorskip("rasterio")
    path = tmp_path / f"mask{suffix}"
    values = mask(3, (0, 1, 2), (40, 50))
    match kind:
        case "P":
            image = Image.fromarray(values)
            image.putpalette(list(range(256)) * 3)
        case "I;16":
            image = Image.fromarray(values.astype(np.uint16) * 300)
        case "RGB":
            image = Image.fromarray(np.repeat(values[..., None], 3, axis=2))
        case _:
            image = Image.fromarray(values * 100).convert(kind)
    image.save(path)
    assert np.array_equal(read_values(path, window), cropped(read_raw_mask(path), window))
    pieces = np.concatenate([piece.ravel() for piece in values_by_piece(path)])
    assert np.array_equal(np.unique(pieces), np.unique(read_raw_mask(path)))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_where_white_is_zero_pillow_decides(tiff, mode):
    path = tiff(np.array(Image.fromarray(picture(3, (40, 50))).convert(mode)), tiffinfo={262: 0})
    assert np.array_equal(read_pixels(path, Preprocessing(), (3, 9, 5, 50)), read_image(path)[3:9, 5:50])
    assert np.array_equal(read_values(path, (3, 9, 5, 50)), read_raw_mask(path)[3:9, 5:50])


def test_pieces_cover_a_raster(tiff, monkeypatch):
    monkeypatch.setattr(reading, "_PIECE", 16)
    values = mask(3, range(200), (40, 50))
    pieces = list(values_by_piece(tiff(values)))
    assert len(pieces) == 3 * 4
    counts = sum(np.bincount(piece.ravel(), minlength=256) for piece in pieces)
    assert np.array_equal(counts, np.bincount(values.ravel(), minlength=256))


def test_a_changed_file_is_read_anew(tmp_path):
    path = save(tmp_path / "mask.png", mask(1, (0, 1), (40, 50)))
    before = read_values(path, (0, 9, 0, 9))
    save(path, np.full((40, 50), 2, np.uint8))
    assert (read_values(path, (0, 9, 0, 9)) == 2).all()
    assert not (before == 2).any()


def test_places_in_a_mask_are_those_of_the_whole(tiff):
    values = np.zeros((40, 50), np.uint8)
    values[30, 40] = 9
    with pytest.raises(DataError, match=r"value 9 in 1 pixels, first at \(y=30, x=40\)"):
        read_mask(tiff(values), labels=THREE, class_map={}, window=(20, 40, 25, 50))


def test_what_is_no_window_of_a_pair(tmp_path, tiff):
    image = tiff(picture(1, (40, 50)))
    small = save(tmp_path / "mask.png", mask(1, (0, 1), (40, 49)))
    assert file_sizes(image, small) == ((40, 50), (40, 49))
    sample = Sample(name="a", image=image, mask=small, group="a", window=(0, 10, 0, 10))
    dataset = Dataset(root=tmp_path, layout="folder", labels=THREE, splits={"train": (sample,)})
    with pytest.raises(DataError, match="mask is 40x49 but its image 40x50"):
        read_pair(sample, dataset, Preprocessing())
    with pytest.raises(DataError, match=r"is 40x50 .* but rows 0 to 41"):
        read_pixels(image, Preprocessing(), (0, 41, 0, 10))


def test_other_bands_are_refused_until_they_are_read(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "bands.tif"
    place = rasterio.Affine(1, 0, 5, 0, -1, 6)
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=50, count=5, dtype="float32", transform=place
    ) as file:
        file.write(np.ones((5, 40, 50), np.float32))
    with pytest.raises(ImageError, match="5 bands of float32; expected grey or RGB"):
        read_pixels(path, Preprocessing(), (0, 10, 0, 10))
