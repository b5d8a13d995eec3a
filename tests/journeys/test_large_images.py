"""Large images through the command line: GeoTIFF in, GeoTIFF out, by windows, and after being killed the same bytes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import atrous
from atrous.models.deeplab import build
from atrous.streamed import segment_streamed
from atrous.tiling import Stitched

rasterio = pytest.importorskip("rasterio", reason="rasterio (the extra geo) is not installed")
SIZE = (420, 530)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    atrous.Model(build("deeplabv3_mobilenet_v2", num_classes=4)).save(path)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "place.tif"
    pixels = np.random.default_rng(3).integers(0, 256, (3, *SIZE), dtype=np.uint8)
    pixels[:, 100:140, 200:260] = 0
    transform = rasterio.transform.from_origin(500000, 5000000, 0.5, 0.5)
    options = {"height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", tiled=True, transform=transform, **options) as file:
        file.write(pixels)
    return path


def predict(model: Path, *inputs: object, out: Path, **more: str) -> subprocess.CompletedProcess[str]:
    options = [text for name, value in more.items() for text in (f"--{name}", value)]
    command = [sys.executable, "-m", "atrous", "predict", model, *inputs, "--out", out, *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_a_geotiff_gives_a_geotiff_of_the_same_place(model: Path, image: Path, tmp_path: Path) -> None:
    done = predict(model, image, out=tmp_path, tile="256")
    assert done.returncode == 0, done.stderr
    assert "by windows of 256 pixels as asked, stitched with the whole image's means" in done.stderr
    with rasterio.open(tmp_path / "place.tif") as file, rasterio.open(image) as source:
        assert (file.crs, file.transform, file.shape, file.nodata) == (source.crs, source.transform, SIZE, 255)
        labels, pixels = file.read(1), source.read()
    assert (labels[100:140, 200:260] == 255).all()
    whole = atrous.load(model, tile="off").predict(np.ascontiguousarray(np.moveaxis(pixels, 0, 2))).label_map
    has_data = (pixels != 0).any(axis=0)
    assert (labels[has_data] == whole[has_data]).mean() > 0.98  # windows of 256 pixels and random weights
    assert not list(tmp_path.glob(".*partial"))


def test_killed_work_goes_on_and_gives_the_same_bytes(
    model: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict(model, image, out=tmp_path / "whole", tile="256", save="mask").returncode == 0
    code = (
        "import os, signal, sys\n"
        "from atrous.tiling import stitched\n"
        "from atrous.rasters import rows\n"
        "stitched.MOST_PIECE, rows._SYNC_SECONDS = 8, 0\n"
        "original = stitched.Stitched._logits\n"
        "mode, count = sys.argv[1], 0\n"
        "def counted(self, piece):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == 11 and mode == 'kill':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, piece)\n"
        "stitched.Stitched._logits = counted\n"
        "from atrous.__main__ import main\n"
        "sys.argv = ['atrous', *sys.argv[2:]]\n"
        "sys.exit(main())\n"
    )
    arguments = ["predict", model, image, "--out", tmp_path / "cut", "--tile", "256", "--save", "mask"]
    command = [sys.executable, "-c", code]
    killed = subprocess.run([*command, "kill", *map(str, arguments)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "place.tif").exists()
    again = subprocess.run([*command, "go", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "goes on at row" in again.stderr
    whole = subprocess.run(
        [*command, "go", *map(str, [*arguments[:4], tmp_path / "anew", *arguments[5:]])],
        capture_output=True,
        check=False,
    )
    assert whole.returncode == 0
    assert (tmp_path / "cut" / "place.tif").read_bytes() == (tmp_path / "anew" / "place.tif").read_bytes()
    assert os.listdir(tmp_path / "cut") == ["place.tif"]  # noqa: PTH208


def test_work_on_another_image_is_never_gone_on_with(model: Path, image: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "place.tif", tmp_path / "b" / "place.tif"
    for path in (first, second):
        path.parent.mkdir()
    first.write_bytes(image.read_bytes())
    with rasterio.open(image) as source, rasterio.open(second, "w", **source.profile) as file:
        file.write(255 - source.read())
    # Interrupted when all features of the first image are on disk and no row is done.
    broken = atrous.load(model, tile=256)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stitched, "_logits", lambda self, piece: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            segment_streamed(broken, first, tmp_path / "out" / "place", save=["mask"])
    assert list((tmp_path / "out").glob(".place.partial/features-*/features"))
    for out, source in (("out", second), ("anew", second)):
        segment_streamed(atrous.load(model, tile=256), source, tmp_path / out / "place", save=["mask"])
    assert (tmp_path / "out" / "place.tif").read_bytes() == (tmp_path / "anew" / "place.tif").read_bytes()


def test_regions_of_a_geotiff_lie_on_its_map(model: Path, image: Path, tmp_path: Path) -> None:
    done = predict(model, image, out=tmp_path, save="mask,polygons,table")
    assert done.returncode == 0, done.stderr
    features = json.loads((tmp_path / "place.geojson").read_text())["features"]
    places = np.array([point for feature in features for point in feature["geometry"]["coordinates"][0]])
    height, width = SIZE[0] * 0.5, SIZE[1] * 0.5
    assert places.min(axis=0).tolist() == [500000, 5000000 - height]
    assert places.max(axis=0).tolist() == [500000 + width, 5000000]
    areas = [feature["properties"]["area"] for feature in features]
    assert sum(areas) == pytest.approx(height * width)


def test_what_does_not_fit_is_told(model: Path, image: Path, tmp_path: Path) -> None:
    five = tmp_path / "five.tif"
    with rasterio.open(
        five, "w", driver="GTiff", height=60, width=50, count=5, dtype="uint8",
        crs="EPSG:4326", transform=rasterio.transform.from_origin(1, 1, 0.1, 0.1),
    ) as file:  # fmt: skip
        file.write(np.zeros((5, 60, 50), np.uint8))
    done = predict(model, five, image, out=tmp_path / "out", save="polygons")
    assert done.returncode == 1
    assert "5 bands of uint8; expected" in done.stderr or "polygons cannot be written" in done.stderr
    done = predict(model, five, out=tmp_path / "out", save="mask")
    assert done.returncode == 1
    assert "5 bands of uint8; expected" in done.stderr
    done = predict(model, image, out=tmp_path / "out", save="mask", scales="0.5,1")
    assert done.returncode == 1
    assert "Leave --scales and --flip away" in done.stderr
