"""One image too large to be read at once: checked, trained on and measured by windows."""

import json

import numpy as np
import pytest

from atrous.data import windows
from tiny_training import TINY_NETWORK

SIZE = (256, 525)  # an eighth of what is large, and so are the windows


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """A wide GeoTIFF of stripes and noise, and its mask as GeoTIFF, with a part that nobody labelled."""
    rasterio = pytest.importorskip("rasterio")
    for name in ("LARGE_SIDE", "WINDOW_SIDE", "GAP"):
        monkeypatch.setattr(windows, name, getattr(windows, name) // 8)
    rng = np.random.default_rng(0)
    classes = np.kron(rng.integers(0, 3, (16, 35), dtype=np.uint8), np.ones((16, 15), np.uint8))
    classes[:128, :128] = 255
    pixels = np.stack([np.where(classes == index, 200, 40).astype(np.uint8) for index in range(3)])
    for name, bands in (("images", pixels), ("masks", classes[None])):
        path = tmp_path / "survey" / name / "flight.tif"
        path.parent.mkdir(parents=True)
        with rasterio.open(
            path, "w", driver="GTiff", height=SIZE[0], width=SIZE[1], count=len(bands), dtype="uint8", tiled=True,
            blockxsize=64, blockysize=64, compress="deflate", crs="EPSG:32633",
            transform=rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5800000),
        ) as file:  # fmt: skip
            file.write(bands)
    return tmp_path / "survey"


def test_check_train_evaluate(atrous, survey, tmp_path):
    code, out, err = atrous("check", survey)
    assert code == 0, err
    assert "1 image has a side of more than 512 pixels (flight.tif: 256x525), so 7 windows of about 128x128" in err
    assert "1 more whose mask is all void are left out" in err
    assert "windows of train are left out, because they lie nearer than 128 pixels to val" in err
    assert "0 errors" in out

    settings = "--set steps=2 enlarge=1 validations=1 tune_images=1 --batch 1 --crop 48 64".split()
    code, out, err = atrous("train", survey, *TINY_NETWORK, *settings, "--out", "run")
    assert code == 0, err
    assert (tmp_path / "run" / "report.html").is_file()
    assert "_y" in (tmp_path / "run" / "report.html").read_text()

    code, out, err = atrous("evaluate", "run", survey, "--json")
    assert code == 0, err
    found = json.loads(out)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["images"] == metrics["images"] > 0
    assert found["confusion"] == metrics["confusion"]
    assert sum(map(sum, found["confusion"])) == found["images"] * 128 * 128


def test_without_rasterio_the_next_step_is_named(atrous, survey, monkeypatch):
    from atrous.data import reading
    from atrous.images import MAX_PIXELS
    from atrous.rasters import opening

    assert SIZE[0] * SIZE[1] < MAX_PIXELS
    monkeypatch.setattr(opening, "has_rasterio", lambda: False)
    code, _, err = atrous("check", survey)
    assert code == 0, err  # small enough to be decoded whole
    monkeypatch.setattr(opening, "image_size", lambda path: (100_000, 100_000))
    reading._decoded.cache_clear()
    code, _, err = atrous("check", survey)
    assert code == 2
    assert "pip install 'atrous[geo]'" in err
