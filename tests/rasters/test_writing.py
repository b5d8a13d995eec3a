"""What is written equals the whole label map, whatever the pieces, and a failure leaves nothing behind."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from atrous.errors import MissingExtraError, OutputError
from atrous.images import read_raw_mask, write_mask
from atrous.labels import CAMVID, VOC, Labels
from atrous.rasters import Georeference, open_label_raster, write_label_raster, writing

PLACE = Georeference(
    crs=rasterio.crs.CRS.from_epsg(32633).to_wkt(), transform=(0.5, 0.0, 400000.0, 0.0, -0.5, 5800000.0)
)
MANY = Labels.numbered(300)


def label_map(height, width, labels, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, labels.num_classes, (height // 8 + 1, width // 8 + 1))
    map_ = np.kron(values, np.ones((8, 8), int))[:height, :width]
    map_[rng.random((height, width)) < 0.02] = labels.ignore_index
    return map_.astype(writing.label_dtype(labels))


def pieces(rows, cuts):
    for start, stop in pairwise([0, *sorted(cuts), rows.shape[0]]):
        yield rows[start:stop]


def written(path, rows, labels, cuts=(), place=None):
    write_label_raster(path, pieces(rows, cuts), size=rows.shape, labels=labels, georeference=place)
    return path


@pytest.mark.parametrize(
    "labels", [VOC, CAMVID, Labels(names=("a", "b"), ignore_index=-1)], ids=["voc", "own", "no void"]
)
@pytest.mark.parametrize("size", [(1, 1), (600, 37), (511, 90), (513, 2)])
def test_a_png_is_what_write_mask_writes(tmp_path, labels, size):
    rows = label_map(*size, labels) if labels.ignore_index >= 0 else np.zeros(size, np.uint8)
    written(tmp_path / "rows.png", rows, labels, cuts=[size[0] // 3])
    write_mask(tmp_path / "whole.png", rows, labels)
    with Image.open(tmp_path / "rows.png") as mine, Image.open(tmp_path / "whole.png") as pillows:
        assert mine.mode == pillows.mode == "P"
        assert mine.getpalette() == pillows.getpalette()
        assert mine.info == pillows.info
        assert np.array_equal(np.array(mine), rows)
        assert np.array_equal(np.array(mine.convert("RGB")), np.array(pillows.convert("RGB")))
    assert np.array_equal(read_raw_mask(tmp_path / "rows.png"), rows)


def test_above_256_classes_png_and_tiff_have_16_bits(tmp_path):
    rows = label_map(530, 70, MANY)
    written(tmp_path / "rows.png", rows, MANY)
    write_mask(tmp_path / "whole.png", rows, MANY)
    with Image.open(tmp_path / "rows.png") as mine, Image.open(tmp_path / "whole.png") as pillows:
        assert mine.mode == pillows.mode
        assert np.array_equal(np.array(mine), np.array(pillows))
    with rasterio.open(written(tmp_path / "rows.tif", rows, MANY, place=PLACE)) as file:
        assert (file.dtypes, file.nodata) == (("uint16",), 65535)
        assert np.array_equal(file.read(1), rows)


def test_a_tiff_carries_place_colours_and_void(tmp_path):
    rows = label_map(1100, 600, CAMVID)
    with rasterio.open(written(tmp_path / "rows.tif", rows, CAMVID, cuts=[3, 700], place=PLACE)) as file:
        assert np.array_equal(file.read(1), rows)
        assert file.crs == rasterio.crs.CRS.from_epsg(32633)
        assert tuple(file.transform)[:6] == PLACE.transform
        assert file.nodata == 255
        assert file.block_shapes == [(512, 512)]
        assert file.compression.name == "deflate"
        colours = file.colormap(1)
    assert [colours[index][:3] for index in range(11)] == list(CAMVID.palette)
    with open_label_raster(tmp_path / "rows.tif") as raster:
        assert raster.georeference is not None
        assert raster.georeference.transform == PLACE.transform
    assert np.array_equal(read_raw_mask(tmp_path / "rows.tif"), rows)


def test_a_tiff_without_place_or_void(tmp_path):
    labels = Labels(names=("a", "b"), ignore_index=-1)
    path = written(tmp_path / "rows.tif", np.ones((20, 30), np.uint8), labels)
    with open_label_raster(path) as raster:
        assert raster.georeference is None
        assert raster.nodata is None


ROWS = label_map(1300, 64, VOC)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 1300), max_size=12), suffix=st.sampled_from([".png", ".tif"]))
def test_the_bytes_do_not_depend_on_the_pieces(tmp_path, cuts, suffix):
    expected = written(tmp_path / f"whole{suffix}", ROWS, VOC, place=PLACE).read_bytes()
    assert written(tmp_path / f"cut{suffix}", ROWS, VOC, cuts, place=PLACE).read_bytes() == expected


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.full((20, 30), 21, np.uint8), r"holds \[21\]; expected 0-20"),
        (np.zeros((19, 30), np.uint8), "19 rows came"),
        (np.zeros((21, 30), np.uint8), "rows of shape"),
        (np.zeros((20, 31), np.uint8), "rows of shape"),
        (np.zeros((20, 30), np.int64), "not int64"),
    ],
)
def test_wrong_rows_leave_the_old_file(tmp_path, suffix, rows, message):
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=message):
        write_label_raster(path, [rows], size=(20, 30), labels=VOC, georeference=None)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"old"


def test_what_the_rows_raise_passes_and_leaves_nothing(tmp_path):
    def rows():
        yield np.zeros((600, 30), np.uint8)
        raise KeyboardInterrupt

    for name in ("out.png", "out.tif"):
        with pytest.raises(KeyboardInterrupt):
            write_label_raster(tmp_path / name, rows(), size=(1200, 30), labels=VOC, georeference=PLACE)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_missing_folders_and_missing_rasterio(tmp_path, monkeypatch):
    rows = np.zeros((4, 4), np.uint8)
    with pytest.raises(OutputError, match=r"'.jpg'; expected .tif"):
        written(tmp_path / "out.jpg", rows, VOC)
    for suffix in (".tif", ".png"):
        with pytest.raises(OutputError, match="nowhere"):
            written(tmp_path / "nowhere" / f"out{suffix}", rows, VOC)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'atrous\[geo\]'"):
        written(tmp_path / "out.tif", rows, VOC)
    written(tmp_path / "out.png", rows, VOC)


FULL_DISK = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from atrous.errors import OutputError
from atrous.labels import VOC
from atrous.rasters import write_label_raster
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = np.random.default_rng(0).integers(0, 21, (1100, 600), dtype=np.uint8)
path = Path(sys.argv[1])
write_label_raster(path, [rows], size=rows.shape, labels=VOC, georeference=None)
whole = path.read_bytes()
for share in (0.0, 0.001, 0.3, 0.9, 0.99, 1 - 1 / len(whole), 1.0):
    soft = int(len(whole) * share)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    path.unlink(missing_ok=True)
    try:
        write_label_raster(path, [rows], size=rows.shape, labels=VOC, georeference=None)
        print("written", path.read_bytes() == whole, share)
    except OutputError as error:
        print("refused", not list(path.parent.iterdir()), str(error).startswith(f"{path} was not written: "))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, suffix):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / f"out{suffix}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["refused True True"] * 6 + ["written True 1.0"]
