"""Files of any bands: what their headers say, and that their numbers come through as they are."""

import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from atrous.errors import ImageError, MissingExtraError
from atrous.images import PHOTO, PixelKind, kind_of_bands, pixel_kind, read_bands, read_image, read_pixels
from atrous.preprocessing import Preprocessing
from band_files import values, write_png, write_tiff

SIZE = (5, 7)


def kind(bands, dtype, nodata=None):
    return PixelKind(bands=bands, dtype=dtype, is_photo=False, nodata=nodata)


def rgb(value=0):
    return np.full((*SIZE, 3), value, np.uint8)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_number_of_a_tiff_comes_through(bands, dtype, tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, bands), dtype)
    path = write_tiff(tmp_path / "x.tif", array)
    if (bands, dtype) != (1, "uint8"):
        assert pixel_kind(path) == kind(bands, dtype)
    found = read_bands(path)
    assert found.dtype == dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("options", [{"big_endian": True}, {"bigtiff": True}])
@pytest.mark.parametrize("bands", [1, 6])
def test_other_forms_of_tiff(options, bands, tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, bands), "uint16")
    path = write_tiff(tmp_path / "x.tif", array, **options)
    assert pixel_kind(path) == kind(bands, "uint16")
    np.testing.assert_array_equal(read_bands(path), array)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float64"])
@pytest.mark.parametrize("bands", [1, 2])
def test_other_numbers_become_float32(dtype, bands, tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, bands), dtype)
    path = write_tiff(tmp_path / "x.tif", array)
    assert pixel_kind(path) == kind(bands, "float32")
    np.testing.assert_array_equal(read_bands(path), array.astype(np.float32))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_16_bit_png_keeps_its_numbers(channels, tmp_path):
    array = values((*SIZE, channels), "uint16")
    path = write_png(tmp_path / "x.png", array)
    colours = channels - (channels in (2, 4))
    assert pixel_kind(path) == kind(colours, "uint16")
    np.testing.assert_array_equal(read_bands(path), array[..., :colours])
    if channels > colours:
        np.testing.assert_array_equal(read_bands(path, kind(channels, "uint16")), array)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[("1", ".png"), ("L", ".jpg"), ("L", ".tif"), ("LA", ".png"), ("P", ".gif"), ("RGB", ".bmp"), ("RGB", ".tif")],
        *[("RGBA", ".png"), ("RGBA", ".tif"), ("CMYK", ".jpg"), ("CMYK", ".tif"), ("RGB", ".webp")],
    ],
)
def test_photographs_are_read_as_rgb(mode, suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    Image.fromarray(values((*SIZE, 3), "uint8")).convert(mode).save(path)
    assert pixel_kind(path) == PHOTO
    np.testing.assert_array_equal(read_pixels(path, Preprocessing()), read_image(path))


def test_a_fourth_band_that_is_no_transparency_makes_four_bands(tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, 4), "uint8")
    path = write_tiff(tmp_path / "x.tif", array, photometric=2)
    assert pixel_kind(path) == kind(4, "uint8")
    np.testing.assert_array_equal(read_bands(path), array)
    np.testing.assert_array_equal(read_image(path), array[..., :3])  # `bands: rgb`, and models of RGB


@pytest.mark.parametrize("alpha", [0, 1, 2])
def test_four_bands_in_8_bits_come_as_they_are_whatever_the_fourth_is_called(alpha, tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, 4), "uint8")
    data = write_tiff(tmp_path / "x.tif", array, photometric=2).read_bytes()
    place = data.index((338).to_bytes(2, "little")) + 8
    path = tmp_path / "y.tif"
    path.write_bytes(data[:place] + bytes([alpha]) + data[place + 1 :])
    assert pixel_kind(path).is_photo == (alpha > 0)
    assert kind_of_bands(path, 4) == kind(4, "uint8")
    np.testing.assert_array_equal(read_bands(path, kind(4, "uint8")), array)


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("LA", 1), ("LA", 2), ("RGB", 3), ("RGBA", 3), ("RGBA", 4)])
def test_photographs_can_be_asked_for_as_bands(mode, bands, tmp_path):
    path = tmp_path / "x.png"
    image = Image.fromarray(values((*SIZE, 4), "uint8")).convert(mode)
    image.save(path)
    assert kind_of_bands(path, bands) == kind(bands, "uint8")
    expected = np.asarray(image).reshape(*SIZE, -1)[..., :bands]
    np.testing.assert_array_equal(read_bands(path, kind(bands, "uint8")), expected)
    assert kind_of_bands(path, 5) is None


def test_pages_are_bands_where_so_many_are_asked_for(tmp_path):
    pages = [values(SIZE, "uint16", seed) for seed in range(3)]
    path = tmp_path / "x.tif"
    first, *others = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=others)
    assert pixel_kind(path) == kind(1, "uint16")
    assert kind_of_bands(path, 3) == kind(3, "uint16")
    assert kind_of_bands(path, 2) is None
    np.testing.assert_array_equal(read_bands(path, kind(3, "uint16")), np.stack(pages, axis=2))
    np.testing.assert_array_equal(read_bands(path)[..., 0], pages[0])
    with pytest.raises(ImageError, match=r"1 band of uint16; expected 3 bands of uint8"):
        read_bands(path, kind(3, "uint8"))


def test_pages_of_other_sizes_are_refused(tmp_path):
    path = tmp_path / "x.tif"
    Image.fromarray(values(SIZE, "uint16")).save(
        path, save_all=True, append_images=[Image.fromarray(values((3, 3), "uint16"))]
    )
    with pytest.raises(ImageError, match="2 pages that differ"):
        read_bands(path, kind(2, "uint16"))


@pytest.mark.parametrize("bands", [1, 2])
def test_nodata_is_nan_in_floats_and_known_of_whole_numbers(bands, tmp_path):
    pytest.importorskip("rasterio")
    floats = values((*SIZE, bands), "float32")
    floats[1, 2] = -9999
    found = read_bands(write_tiff(tmp_path / "f.tif", floats, nodata="-9999"))
    assert np.isnan(found[1, 2]).all()
    assert np.isfinite(found).sum() == found.size - bands
    heights = values((*SIZE, bands), "int16") // 2
    heights[0, 0] = -32768
    assert np.isnan(read_bands(write_tiff(tmp_path / "i.tif", heights, nodata="-32768"))[0, 0]).all()
    whole = values((*SIZE, bands), "uint16")
    path = write_tiff(tmp_path / "u.tif", whole, nodata="0")
    assert pixel_kind(path) == kind(bands, "uint16", nodata=0)
    np.testing.assert_array_equal(read_bands(path), whole)
    for odd in ("nan", "0.5", "none", ""):
        assert pixel_kind(write_tiff(tmp_path / "o.tif", whole, nodata=odd)).nodata is None


@pytest.mark.parametrize("turn", range(1, 9))
def test_turned_images_are_read_upright(turn, tmp_path):
    pytest.importorskip("rasterio")
    array = values((*SIZE, 5), "uint8")
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(array[..., :3]).save(tmp_path / "x.png", exif=exif)
    upright = read_image(tmp_path / "x.png")
    found = read_bands(write_tiff(tmp_path / "x.tif", array, turn=turn))
    np.testing.assert_array_equal(found[..., :3], upright)
    one = write_tiff(tmp_path / "y.tif", array[..., :1].astype(np.uint16), turn=turn)
    np.testing.assert_array_equal(read_bands(one)[..., 0], upright[..., 0])


@pytest.mark.parametrize(
    ("bands", "dtype", "wanted"),
    [(5, "uint16", kind(8, "uint16")), (8, "uint8", kind(8, "uint16")), (1, "uint16", kind(1, "float32"))],
)
def test_other_bands_or_numbers_are_refused_before_decoding(bands, dtype, wanted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    path = write_tiff(tmp_path / "x.tif", values((*SIZE, bands), dtype))
    with pytest.raises(ImageError, match=rf"{pixel_kind(path)}; expected {wanted}\. Choose"):
        read_bands(path, wanted)


def test_a_model_of_rgb_names_what_it_was_given(tmp_path):
    path = write_tiff(tmp_path / "x.tif", values((*SIZE, 8), "uint16"))
    with pytest.raises(ImageError, match="8 bands of uint16; expected RGB in 8 bits"):
        read_pixels(path, Preprocessing())
    photo = tmp_path / "x.png"
    Image.fromarray(rgb()).save(photo)
    with pytest.raises(ImageError, match="3 bands of uint8; expected 8 bands of uint16"):
        read_bands(photo, kind(8, "uint16"))


def test_without_rasterio_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    several = write_tiff(tmp_path / "x.tif", values((*SIZE, 8), "uint16"))
    with pytest.raises(MissingExtraError, match=r"8 bands of uint16.*pip install 'atrous\[geo\]'") as told:
        read_bands(several)
    assert "\n" not in str(told.value)
    one = values((*SIZE, 1), "float32")
    np.testing.assert_array_equal(read_bands(write_tiff(tmp_path / "y.tif", one)), one)


def test_what_is_too_large_is_refused_unread(tmp_path):
    wide = write_tiff(tmp_path / "x.tif", np.zeros((1, 4000, 8), np.float32))
    data = wide.read_bytes().replace((4000).to_bytes(4, "little"), (40_000).to_bytes(4, "little"))
    height = data.index(b"\x01\x01\x04\x00") + 8
    wide.write_bytes(data[:height] + (10_000).to_bytes(4, "little") + data[height + 4 :])
    with pytest.raises(ImageError, match=r"10000 x 40000 pixels .* 400 million"):
        read_bands(wide)
    with pytest.raises(ImageError, match=r"8 bands of float32, are 12.8 GB; expected at most 2.1 GB"):
        read_bands(wide, max_pixels=10**9)


def test_a_tif_that_is_another_format_reads_no_other_file(tmp_path):
    canary = tmp_path / "canary.png"
    Image.fromarray(rgb(7)).save(canary)
    vrt = tmp_path / "x.tif"
    vrt.write_text(
        f"""<VRTDataset rasterXSize="7" rasterYSize="5"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
        <SourceFilename>{canary}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
    )
    for read in (pixel_kind, read_bands):
        with pytest.raises(ImageError, match="not an image"):
            read(vrt)


def test_no_other_reader_of_gdal_is_asked(tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    asked = []
    plain = rasterio.open
    monkeypatch.setattr(
        rasterio, "open", lambda *given, **more: asked.append(more.get("driver")) or plain(*given, **more)
    )
    read_bands(write_tiff(tmp_path / "x.tif", values((*SIZE, 8), "uint16")))
    assert asked == ["GTiff"]


def test_damaged_files_are_image_errors_and_nothing_else(tmp_path):
    pytest.importorskip("rasterio")
    rng = np.random.default_rng(0)
    wholes = [
        write_tiff(tmp_path / "a.tif", values((*SIZE, 8), "uint16")).read_bytes(),
        write_tiff(tmp_path / "b.tif", values((*SIZE, 1), "float32"), bigtiff=True, nodata="-1").read_bytes(),
        write_png(tmp_path / "c.png", values((*SIZE, 3), "uint16")).read_bytes(),
    ]
    path, refused = tmp_path / "mutant", 0
    for number in range(240):
        data = bytearray(wholes[number % 3])
        if number % 4 == 0:
            del data[int(rng.integers(1, len(data))) :]
        for at in rng.integers(0, min(len(data), 260), rng.integers(1, 8)):
            data[at] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            found = read_bands(path)
            assert found.ndim == 3
        except ImageError:
            refused += 1
    assert 100 < refused < 240


def test_complex_numbers_are_refused(tmp_path):
    path = write_tiff(tmp_path / "x.tif", values((*SIZE, 2), "float32"))
    data = path.read_bytes()
    place = data.index((339).to_bytes(2, "little"))
    at = place + 8
    path.write_bytes(data[:at] + (6).to_bytes(2, "little") + data[at + 2 :])
    with pytest.raises(ImageError, match="complex or undefined numbers"):
        pixel_kind(path)


@pytest.mark.shared
def test_real_geotiffs_hold_what_rasterio_says(shared):
    rasterio = pytest.importorskip("rasterio")
    folder = shared / "data" / "formats" / "geotiff" / "different-types"
    expected = {
        "tiff_1channel_float": "1 band of float32",
        "tiff_1channel_uint8": "RGB in 8 bits",
        "tiff_1channel_uint16": "1 band of uint16",
        "tiff_3channel_uint8": "RGB in 8 bits",
        "tiff_3channel_uint16": "3 bands of uint16",
        "tiff_8channel_uint8": "8 bands of uint8",
    }
    for name, text in expected.items():
        path = folder / f"{name}.tif"
        assert str(pixel_kind(path)) == text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                plain = np.moveaxis(file.read(), 0, 2)
        np.testing.assert_array_equal(read_bands(path), plain)
