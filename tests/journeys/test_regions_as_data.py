"""Regions as data through the command line: every kind of file, read back to the masks of the same run."""

import csv
import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import atrous as library
from annotation_readers import read_coco, read_cvat, read_labelme
from atrous.collection import InputFile, predict_files
from atrous.images import read_raw_mask
from atrous.results import KINDS, Results, Wanted
from label_maps import filled

NAMES = ('<img src=x onerror="x">', "=cmd|' /C calc'!A0", "grün, blue\n& more")
LABELS = library.Labels(names=NAMES)


class Brightest(nn.Module):
    """Three classes: the brightest channel of each pixel."""

    def forward(self, image):
        return image * 3


@pytest.fixture
def model(monkeypatch):
    """What `--model` names in these journeys, whatever it says."""
    made = library.Model(Brightest(), labels=LABELS, device="cpu", engine="plain")
    monkeypatch.setattr("atrous.prediction.load", lambda *_, **__: made)
    return made


def blotches(seed, size=(48, 64)):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "=b.png", "sub/ü.png")):
        Image.fromarray(blotches(seed)).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    return folder


NAMED = ["=b.png", "a.png", "sub/ü.png"]


def masks_of(out):
    return {name: read_raw_mask(out / name).pixels for name in NAMED}


def test_every_kind_reads_back_to_the_masks(atrous, model, photos, tmp_path):
    code, out, err = atrous("predict", "M", photos, "--out", "out", "--save", ",".join(KINDS))
    assert code == 1, err
    assert "3 images segmented into out, 1 failed" in err
    folder = tmp_path / "out"
    printed = {str((tmp_path / line).relative_to(folder)) for line in out.splitlines()}
    assert printed | {"errors.jsonl"} == {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    assert len(printed) == 3 * 6 + 3
    masks = {name: np.asarray(Image.open(folder / name)) for name in NAMED}
    for name in NAMED:
        np.testing.assert_array_equal(masks[name], model.predict(photos / name).label_map)
    for file, read in (("coco.json", read_coco), ("annotations.xml", read_cvat)):
        maps = read((folder / file).read_bytes(), LABELS)
        assert list(maps) == NAMED, "the broken image is not there, all others are"
        for name, label_map in maps.items():
            np.testing.assert_array_equal(label_map, masks[name])
    for name in NAMED:
        path = (folder / name).with_suffix(".json")
        np.testing.assert_array_equal(read_labelme(path, LABELS), masks[name])
        assert (path.parent / json.loads(path.read_text())["imagePath"]).resolve() == photos / name
    with (folder / "tags.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "tags", NAMES[0], f"'{NAMES[1]}", NAMES[2]]
    assert [row[0] for row in rows[1:]] == ["'=b.png", "a.png", "sub/ü.png"]
    for row, name in zip(rows[1:], NAMED, strict=True):
        shares = np.bincount(masks[name].ravel(), minlength=3) / masks[name].size
        np.testing.assert_allclose([float(cell) for cell in row[2:]], shares, atol=1e-6)


def test_tables_polygons_and_scores(atrous, model, photos, tmp_path):
    code, _, err = atrous("predict", "M", photos / "a.png", "--out", "out", "--save", "table,polygons,scores")
    assert code == 0, err
    prediction = model.predict(photos / "a.png")
    features = json.loads((tmp_path / "out" / "a.geojson").read_text())["features"]
    assert features == json.loads(json.dumps(prediction.polygons()))
    with (tmp_path / "out" / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["area_pixels"]) for row in rows] == [row["area_pixels"] for row in prediction.table()]
    assert [float(row["mean_confidence"]) for row in rows] == [row["mean_confidence"] for row in prediction.table()]
    with np.load(tmp_path / "out" / "a_scores.npz", allow_pickle=False) as file:
        np.testing.assert_allclose(file["scores"], prediction.scores, atol=1e-3)
        assert file["names"].tolist() == list(NAMES)


def test_scores_of_averaged_views(atrous, model, photos, tmp_path):
    options = ("--save", "scores", "--scales", "0.5,1", "--flip")
    code, _, err = atrous("predict", "M", photos / "a.png", "--out", "out", *options)
    assert code == 0, err
    with np.load(tmp_path / "out" / "a_scores.npz") as file:
        expected = model.predict(photos / "a.png", scales=(0.5, 1), flip=True).scores
        np.testing.assert_allclose(file["scores"], expected, atol=1e-3)


def test_simplified_and_without_specks(atrous, model, photos, tmp_path):
    shapely = pytest.importorskip("shapely.geometry")
    save = ("--save", "polygons,table,coco,cvat,labelme")
    sizes = {}
    for out, options in (("exact", ()), ("simple", ("--simplify", "1.5", "--min-area", "30"))):
        code, _, err = atrous("predict", "M", photos / "a.png", "--out", out, *save, *options)
        assert code == 0, err
        sizes[out] = {path.name: path.stat().st_size for path in (tmp_path / out).iterdir()}
    assert all(sizes["simple"][name] < sizes["exact"][name] for name in sizes["exact"])
    features = json.loads((tmp_path / "simple" / "a.geojson").read_text())["features"]
    assert all(shapely.shape(feature["geometry"]).is_valid for feature in features)
    with (tmp_path / "simple" / "a.csv").open(newline="", encoding="utf-8") as file:
        assert min(int(row["area_pixels"]) for row in csv.DictReader(file)) >= 30


def test_a_second_run_overwrites(atrous, model, photos, tmp_path):
    for inputs in ((photos / "a.png", photos / "=b.png"), (photos / "a.png",)):
        code, _, err = atrous("predict", "M", *inputs, "--out", "out", "--save", "coco,cvat,tags")
        assert code == 0, err
    assert list(read_coco((tmp_path / "out" / "coco.json").read_bytes(), LABELS)) == ["a.png"]
    assert list(read_cvat((tmp_path / "out" / "annotations.xml").read_bytes(), LABELS)) == ["a.png"]
    with (tmp_path / "out" / "tags.csv").open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["file", "a.png"]
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_run_that_is_stopped_leaves_the_old_file(model, photos, tmp_path):
    files = [InputFile(photos / name, Path(name)) for name in NAMED]
    out = tmp_path / "out"
    out.mkdir()
    (out / "coco.json").write_text("old")
    run = predict_files(model, files, out=out, wanted=Wanted(kinds=("coco", "tags")))
    next(run)
    assert len(list(out.glob(".atrous-*"))) == 2, "what is not finished lies under other names"
    run.close()
    assert [path.name for path in out.iterdir()] == ["coco.json"]
    assert (out / "coco.json").read_text() == "old"


def test_a_full_disk_leaves_nothing_half_written(atrous, model, photos, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = atrous("predict", "M", photos / "a.png", "--out", "out", "--save", "coco,cvat,tags")
    assert code == 2
    assert "No space left" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_names_that_would_overwrite_each_other(atrous, model, photos, tmp_path):
    (photos / "a.png").rename(photos / "coco.png")
    code, _, err = atrous("predict", "M", photos, "--out", "out", "--save", "coco,labelme")
    assert code == 2
    assert "coco.png would write coco.json, as the file of all images does" in err
    assert not (tmp_path / "out").exists()
    assert atrous("predict", "M", photos, "--out", "out", "--save", "coco,mask")[0] == 1
    (tmp_path / "other").mkdir()
    Image.fromarray(blotches(9)).save(tmp_path / "other" / "coco.png")
    code, _, err = atrous("predict", "M", photos / "coco.png", tmp_path / "other" / "coco.png", "--out", "out")
    assert code == 2
    assert "Rename one" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--simplify", "-1"), "simplify is -1.0, expected a tolerance in pixels"),
        (("--simplify", "nan"), "expected a tolerance in pixels"),
        (("--min-area", "-3"), "min_area is -3, expected a number of pixels"),
        (("--save", "cocoa"), "cocoa is not known; expected mask, overlay, polygons, table, scores, labelme, coco"),
    ],
)
def test_settings_that_cannot_be(atrous, model, photos, tmp_path, options, message):
    code, out, err = atrous("predict", "M", photos, "--out", "out", *options)
    assert code == 2
    assert out == ""
    assert message in err
    assert not (tmp_path / "out").exists()


def test_without_shapely_nothing_is_begun(atrous, model, photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "shapely", None)
    code, _, err = atrous("predict", "M", photos, "--out", "out", "--save", "polygons", "--simplify", "1")
    assert code == 2
    assert "pip install 'atrous[geo]'" in err
    assert not (tmp_path / "out").exists()
    assert atrous("predict", "M", photos / "a.png", "--out", "out", "--save", "polygons")[0] == 0


def test_a_setting_without_effect_is_told(atrous, model, photos):
    pytest.importorskip("shapely")
    options = ("--simplify", "1", "--min-area", "5")
    code, _, err = atrous("predict", "M", photos / "a.png", "--out", "out", *options)
    assert code == 0
    assert "--simplify and --min-area: no effect on mask,overlay" in err
    _, _, err = atrous("predict", "M", photos / "a.png", "--out", "out", "--save", "table", *options)
    assert "--simplify: no effect on table" in err


def test_results_on_a_map(model, photos, tmp_path):
    """GeoJSON goes onto the map, physical areas into tables; what is drawn over the image stays in pixels."""
    transform = (0.5, 0, 600_000, 0, -0.5, 5_800_000)
    place = {"transform": transform, "crs": "EPSG:32632", "pixel_area": 0.25, "area_unit": "m2"}
    prediction = model.predict(photos / "a.png")
    with Results(tmp_path / "out", Wanted(kinds=("polygons", "table", "coco")), LABELS) as results:
        list(results.write(prediction, Path("a"), image=photos / "a.png", name="a.png", **place))
        results.finish()
    collection = json.loads((tmp_path / "out" / "a.geojson").read_text())
    assert collection["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
    expected = prediction.polygons(pixel_area=0.25, transform=transform)
    assert collection["features"] == json.loads(json.dumps(expected))
    with (tmp_path / "out" / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["area"]) == int(row["area_pixels"]) / 4 and row["area_unit"] == "m2" for row in rows)
    assert read_coco((tmp_path / "out" / "coco.json").read_bytes(), LABELS)["a.png"].tolist() == (
        prediction.label_map.tolist()
    )


def test_a_prediction_in_python(model, photos):
    prediction = model.predict(photos / "a.png")
    assert prediction.tags() == {row["class_name"]: row["share"] for row in prediction.shares() if row["share"] > 0.01}
    regions = [outline.region for outline in prediction.outlines()]
    assert [region.as_row() for region in regions] == prediction.table()
    largest = prediction.table()[0]
    inside = filled(prediction.polygons()[0]["geometry"]["coordinates"], prediction.size)
    assert largest["mean_confidence"] == pytest.approx(prediction.confidence[inside].mean(), abs=1e-4)
    shown = prediction._repr_html_()
    assert "&lt;img src=x" in shown
    assert "<img src=x" not in shown
