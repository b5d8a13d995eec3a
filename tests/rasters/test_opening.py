"""Windows equal the same part of the whole image, and files that were made to do harm do none."""

import http.server
import os
import struct
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from atrous.errors import ImageError, MissingExtraError, OutputError
from atrous.images import read_image, read_raw_mask
from atrous.labels import VOC
from atrous.rasters import (
    Georeference,
    count_not_finite,
    open_label_raster,
    open_raster,
    opening,
    write_label_raster,
)
from atrous.rasters import gdal as gdal_module

UTM = "EPSG:32633"
PLACED = {"crs": UTM, "transform": rasterio.Affine(1, 0, 5, 0, -1, 6)}  # a raster without a place warns when it is made


def whole(raster):
    return raster.read(slice(0, raster.size[0]), slice(0, raster.size[1]))


def noise(*shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if np.issubdtype(np.dtype(dtype), np.floating):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


LAYOUTS = [
    {"tiled": True, "blockxsize": 32, "blockysize": 16, "compress": "deflate"},
    {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "band", "compress": "lzw"},
    {"blockysize": 7},
    {"tiled": True, "blockxsize": 16, "blockysize": 16, "BIGTIFF": "YES", "ENDIANNESS": "BIG"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (5, "uint16"), (16, "float32"), (2, "int16")])
def test_windows_equal_the_whole(write_tiff, layout, bands, dtype):
    pixels = noise(bands, 75, 93, dtype=dtype)
    path = write_tiff(pixels, photometric="rgb" if bands == 3 else "minisblack", **layout)
    expected = np.moveaxis(pixels, 0, 2)
    with open_raster(path) as raster:
        assert (raster.size, raster.bands, raster.dtype) == ((75, 93), bands, np.dtype(dtype))
        assert np.array_equal(whole(raster), expected)
        rng = np.random.default_rng(1)
        for _ in range(8):
            top, bottom = sorted(rng.integers(0, 76, 2))
            left, right = sorted(rng.integers(0, 94, 2))
            window = raster.read(slice(int(top), int(bottom)), slice(int(left), int(right)))
            assert window.flags.c_contiguous
            assert window.dtype == np.dtype(dtype)
            assert np.array_equal(window, expected[top:bottom, left:right])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_pillows_tiffs_have_the_pixels_that_read_image_gives(tmp_path, mode, compression):
    path = tmp_path / "image.tif"
    picture = Image.fromarray(noise(40, 50, 3)).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(noise(40, 50, seed=4)))
    picture.save(path, compression=compression)
    with open_raster(path) as raster:
        pixels = whole(raster)
    expected = read_image(path)
    if mode == "CMYK":  # two programs' conversions round differently
        assert np.abs(pixels.astype(int) - expected).max() <= 1
    else:
        assert np.array_equal(np.broadcast_to(pixels, expected.shape), expected)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_white_may_be_zero(tmp_path, mode):
    path = tmp_path / "white.tif"
    Image.fromarray(noise(20, 30)).convert(mode).save(path, tiffinfo={262: 0})
    with open_raster(path) as raster:
        assert np.array_equal(np.broadcast_to(whole(raster), (20, 30, 3)), read_image(path))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_other_formats_are_served_from_memory(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    Image.fromarray(noise(40, 50, 3)).save(path)
    with open_raster(path) as raster:
        window = raster.read(slice(3, 9), slice(5, 50))
        assert np.array_equal(window, read_image(path)[3:9, 5:50])
        assert raster.void(slice(3, 9), slice(5, 50)) is None
        window[:] = 0
        assert np.array_equal(whole(raster), read_image(path))
    with pytest.raises(ImageError, match="million"):
        open_raster(path, max_pixels=100)


def test_a_turned_tiff_is_upright_as_ever(tmp_path):
    path = tmp_path / "turned.tif"
    Image.fromarray(noise(20, 30, 3)).save(path, tiffinfo={274: 6})
    with open_raster(path) as raster:
        assert raster.size == (30, 20)
        assert np.array_equal(whole(raster), read_image(path))
    Image.fromarray(noise(20, 30)).save(path, tiffinfo={274: 6})
    with pytest.raises(ImageError, match="EXIF turn"):
        open_label_raster(path)


@pytest.mark.parametrize("rows", [slice(0, 21), slice(-1, 5), slice(5, 4), slice(None, 4), slice(0, 4, 2)])
def test_windows_outside_are_refused(write_tiff, tmp_path, rows):
    Image.fromarray(noise(20, 30)).save(tmp_path / "image.png")
    for path in (write_tiff(noise(1, 20, 30)), tmp_path / "image.png"):
        with open_raster(path) as raster, pytest.raises(ValueError, match="does not lie within"):
            raster.read(rows, slice(0, 5))


def test_the_georeference_is_read(write_tiff, tmp_path):
    transform = rasterio.Affine(0.5, 0.1, 400000.0, 0.2, -0.5, 5800000.0)
    with open_raster(write_tiff(noise(1, 20, 30), crs=UTM, transform=transform)) as raster:
        place = raster.georeference
    assert isinstance(place, Georeference)
    assert rasterio.crs.CRS.from_wkt(place.crs) == rasterio.crs.CRS.from_string(UTM)
    assert place.to_map(10, 4) == (400005.4, 5800000.0)
    xs, ys = place.to_map(np.array([0.0, 10.0]), np.array([0.0, 4.0]))
    assert (xs.tolist(), ys.tolist()) == ([400000.0, 400005.4], [5800000.0, 5800000.0])
    assert place.pixel_area == pytest.approx(0.27)
    assert place.unit == "metre"
    with open_raster(write_tiff(noise(1, 20, 30), crs="EPSG:4326", transform=transform)) as raster:
        assert raster.georeference is not None
        assert raster.georeference.unit == "degree"
    with open_raster(write_tiff(noise(1, 20, 30), transform=transform)) as raster:
        assert raster.georeference == Georeference(crs=None, transform=tuple(transform)[:6])
        assert raster.georeference.unit is None
    with open_raster(write_tiff(noise(1, 20, 30))) as raster:
        assert raster.georeference is None


def test_pixels_without_data_are_void(write_tiff):
    here = slice(0, 20), slice(0, 30)
    pixels = noise(3, 20, 30)
    pixels[:, :4] = 7
    pixels[0, 10] = 7  # in one band only: data
    with open_raster(write_tiff(pixels, nodata=7)) as raster:
        assert raster.nodata == 7
        assert np.array_equal(raster.void(*here), (pixels == 7).all(axis=0))
        assert np.array_equal(raster.void(slice(3, 9), slice(5, 8)), (pixels == 7).all(axis=0)[3:9, 5:8])
    with open_raster(write_tiff(pixels, photometric="rgb")) as raster:
        assert raster.void(*here) is None
    alpha = noise(4, 20, 30)
    alpha[3] = np.arange(20)[:, None] > 5
    with open_raster(write_tiff(alpha, photometric="rgb", alpha="yes")) as raster:
        assert raster.bands == 3
        assert np.array_equal(whole(raster), np.moveaxis(alpha[:3], 0, 2))
        assert np.array_equal(raster.void(*here), alpha[3] == 0)


def test_an_internal_mask_is_void(tmp_path):
    path = tmp_path / "masked.tif"
    mask = np.arange(600).reshape(20, 30) % 7 > 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", height=20, width=30, count=3, dtype="uint8", **PLACED) as file,
    ):
        file.write(noise(3, 20, 30))
        file.write_mask(mask)
    with open_raster(path) as raster:
        assert np.array_equal(raster.void(slice(0, 20), slice(2, 30)), ~mask[:, 2:])


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_values_that_are_not_finite(write_tiff, nodata):
    pixels = noise(2, 20, 30, dtype="float32")
    pixels[:, 0] = np.nan
    pixels[0, 1] = np.inf
    pixels[:, 2] = -9999
    with open_raster(write_tiff(pixels, nodata=nodata)) as raster:
        read = whole(raster)
        assert np.array_equal(read, np.moveaxis(pixels, 0, 2), equal_nan=True)
        assert count_not_finite(read) == 90
        expected = np.zeros((20, 30), bool)
        expected[0] = True
        expected[2] = nodata == -9999
        assert np.array_equal(raster.void(slice(0, 20), slice(0, 30)), expected)
    assert count_not_finite(noise(3, 4)) == 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_palettes_are_colours_in_images_and_indices_in_masks(write_tiff, dtype):
    colours = {value: (value, 255 - value, value // 2) for value in range(256)}
    indices = noise(1, 20, 30).astype(dtype)
    path = write_tiff(indices, prepare=lambda file: file.write_colormap(1, colours))
    with open_raster(path) as image, open_label_raster(path) as mask:
        assert (image.bands, image.dtype) == (3, np.uint8)
        assert (mask.bands, mask.dtype) == (1, np.dtype(dtype))
        assert np.array_equal(whole(image), np.array([colours[v] for v in range(256)])[indices[0]])
        assert np.array_equal(whole(mask)[..., 0], indices[0])
        if dtype == "uint8":  # Pillow reads no palettes of 16 bits
            assert np.array_equal(whole(mask)[..., 0], read_raw_mask(path))


def test_masks_are_one_band_of_whole_numbers(write_tiff):
    here = slice(0, 20), slice(0, 30)
    for pixels in (noise(2, 20, 30), noise(1, 20, 30, dtype="float32"), noise(3, 20, 30, dtype="uint16")):
        with pytest.raises(ImageError, match="one band of whole numbers"):
            open_label_raster(write_tiff(pixels))
    with pytest.raises(ImageError, match="JPEG compression"):
        open_label_raster(write_tiff(noise(1, 20, 30), compress="jpeg"))
    grey = np.repeat(noise(1, 20, 30), 3, axis=0)
    for pixels in (grey, noise(1, 20, 30).astype("int32") * 200):
        with open_label_raster(write_tiff(pixels)) as mask:
            assert mask.bands == 1
            assert mask.dtype == (np.uint8 if pixels is grey else np.uint16)
            assert np.array_equal(mask.read(*here)[..., 0], pixels[0])
            assert np.array_equal(mask.read(*here)[..., 0], read_raw_mask(mask.path))
    grey[1, 4, 7] ^= 1
    for pixels, message in (
        (grey, "a colour mask: 3 bands that differ in rows 0 to 20, columns 0 to 30"),
        (np.full((1, 20, 30), -9999, np.int16), "values from -9999 to -9999 in rows 0 to 20"),
        (np.full((1, 20, 30), 65536, np.int32), "values from 65536"),
    ):
        with open_label_raster(write_tiff(pixels)) as mask, pytest.raises(ImageError, match=message):
            mask.read(*here)


def test_what_is_not_read_is_refused_by_name(write_tiff):
    with pytest.raises(ImageError, match="complex64"):
        open_raster(write_tiff(np.ones((1, 20, 30), np.complex64)))
    with pytest.raises(ImageError, match=r"17 bands.*1 to 16"):
        open_raster(write_tiff(noise(17, 20, 30)))


def test_one_strip_that_is_the_whole_image_is_refused(tmp_path):
    path = tmp_path / "strip.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 7000, "width": 7000, **PLACED}
    with rasterio.open(path, "w", compress="deflate", tiled=True, blockxsize=7008, blockysize=7008, **profile) as file:
        file.write(noise(3, 16, 16), window=rasterio.windows.Window(0, 0, 16, 16))
    with pytest.raises(ImageError, match=r"7008 x 7008 pixels, 14\d MiB each.*gdal_translate"):
        open_raster(path)


def test_a_sparse_giant_opens_and_a_truncated_one_says_where(tmp_path):
    path = tmp_path / "giant.tif"
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "height": 100_000, "width": 100_000, **PLACED}
    with rasterio.open(path, "w", tiled=True, blockxsize=512, blockysize=512, SPARSE_OK=True, **profile) as file:
        file.write(noise(3, 512, 512), window=rasterio.windows.Window(0, 0, 512, 512))
    with open_raster(path) as raster:
        assert raster.size == (100_000, 100_000)
        assert not raster.read(slice(99_000, 100_000), slice(99_000, 100_000)).any()
    os.truncate(path, path.stat().st_size - 100)
    with open_raster(path) as raster, pytest.raises(ImageError, match="rows 0 to 9, columns 3 to 8"):
        raster.read(slice(0, 9), slice(3, 8))


def header(width, height, *, compression=8, rows=None, at=8):
    """A little-endian TIFF whose body is missing."""
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 200, 277: 1, 278: rows or height, 279: 1000}
    body = struct.pack("<H", len(tags))
    for tag, value in tags.items():
        body += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\x00" + struct.pack("<I", at) + body + struct.pack("<I", 0)


@pytest.mark.parametrize("side", [65_535, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("compression", [1, 5, 8, 7])
def test_headers_that_promise_too_much(tmp_path, side, compression):
    path = tmp_path / "promise.tif"
    path.write_bytes(header(side, side, compression=compression))
    with pytest.raises(ImageError), open_raster(path) as raster:
        raster.read(slice(0, 8), slice(0, 8))


@pytest.fixture(scope="module")
def small_tiff():
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=64, width=64, count=3, dtype="uint8", tiled=True, blockxsize=32, blockysize=32,
            compress="deflate", **PLACED,
        ) as file:  # fmt: skip
            file.write(noise(3, 64, 64))
        return memory.read()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutants_give_only_image_errors(small_tiff, tmp_path, data):
    content = bytearray(small_tiff)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content) - 1, 600)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutant.tif"
    path.write_bytes(bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 100]))]))
    try:
        with open_raster(path) as raster:
            rows, columns = slice(0, min(64, raster.size[0])), slice(0, min(64, raster.size[1]))
            raster.read(rows, columns)
            raster.void(rows, columns)
    except ImageError:
        pass


@pytest.fixture
def canary():
    """A server that must not be asked, as (address, list of requests)."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self):
            asked.append(self.rfile.readline())
            self.close_connection = True

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_virtual_rasters_are_not_opened(tmp_path, canary):
    address, asked = canary
    secret = tmp_path / "secret.png"
    Image.fromarray(noise(8, 8)).save(secret)
    for source in (f"/vsicurl/{address}/a.tif", os.fspath(secret)):
        path = tmp_path / "image.tif"
        path.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
            "</VRTDataset>"
        )
        with pytest.raises(ImageError, match="not an image"):
            open_raster(path)
    assert not asked


def test_no_file_beside_and_no_address_is_opened(write_tiff, tmp_path, canary):
    address, asked = canary
    pixels = noise(1, 64, 64)

    def name_overview(file):
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/a.ovr")

    path = write_tiff(pixels, prepare=name_overview)
    path.with_suffix(".tfw").write_text("2\n0\n0\n-2\n100\n100\n")
    beside = write_tiff(np.zeros_like(pixels), "beside.tif")
    beside.rename(tmp_path / "image.tif.msk")
    (tmp_path / "image.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>3</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    with open_raster(path) as raster:
        assert raster.georeference is None
        assert raster.nodata is None
        assert raster.void(slice(0, 64), slice(0, 64)) is None
        assert np.array_equal(whole(raster)[..., 0], pixels[0])
        # the options hold even where the overviews are asked for, which the reader never does
        with gdal_module.gdal():
            raster._file.overviews(1)
    assert not asked
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "image.tfw", "image.tif", "image.tif.aux.xml", "image.tif.msk",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("name", [b"\xff\xfe", b"a?b", b"zip!x", b"GTIFF_DIR:1:x", b"http:x", b"<VRTDataset", b"a\nb"])
def test_odd_names(write_tiff, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name) + ".tif")
    write_tiff(noise(1, 20, 30)).rename(path)
    with open_label_raster(path) as raster:
        assert np.array_equal(whole(raster)[..., 0], noise(1, 20, 30)[0])
    Path(os.fsdecode(name)).mkdir()
    place = {"size": (1, 1), "labels": VOC, "georeference": None}
    with pytest.raises(OutputError, match="no such path") if name == b"\xff\xfe" else nullcontext():
        write_label_raster(Path(os.fsdecode(name)) / "out.tif", [np.zeros((1, 1), np.uint8)], **place)


def test_without_rasterio(write_tiff, monkeypatch):
    path = write_tiff(noise(3, 20, 30), photometric="rgb")
    monkeypatch.setattr(opening, "has_rasterio", lambda: False)
    with open_raster(path) as raster:
        assert np.array_equal(whole(raster), read_image(path))
    with pytest.raises(MissingExtraError, match=r"pip install 'atrous\[geo\]'"):
        open_raster(path, max_pixels=100)


def test_threads_share_a_raster(write_tiff):
    pixels = noise(3, 200, 200)
    path = write_tiff(pixels, tiled=True, blockxsize=16, blockysize=16, compress="deflate", photometric="rgb")
    wrong, expected = [], np.moveaxis(pixels, 0, 2)
    with open_raster(path) as raster:

        def read(start):
            for column in range(0, 190, 10):
                window = raster.read(slice(start, start + 10), slice(column, column + 10))
                if not np.array_equal(window, expected[start : start + 10, column : column + 10]):
                    wrong.append((start, column))

        threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 190, 30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_importing_needs_no_rasterio():
    code = "import sys, atrous.rasters; print('rasterio' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
