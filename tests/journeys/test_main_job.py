"""Whole journeys through the command line on tiny data."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import atrous as library
from tiny_training import TINY_NETWORK


def test_check_train_evaluate_predict(atrous, scenes, tmp_path):
    code, out, err = atrous("check", scenes)
    assert code == 0, err
    assert "PASCAL VOC" in err
    assert "0 errors" in out

    code, out, err = atrous(
        "train", scenes, *TINY_NETWORK, "--epochs", "2", "--batch", "2", "--crop", "48", "64", "--seed", "3"
    )
    assert code == 0, err
    run = tmp_path / out.strip()
    assert run.name == "scenes-1"
    assert (run.parent / "latest").resolve() == run
    expected = "config.yaml model.safetensors last history.csv metrics.json report.html log.txt curves.png worst"
    assert {*expected.split()} <= {path.name for path in run.iterdir()} <= {*expected.split(), "tensorboard"}
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert rows[-1]["step"] == "4"
    assert float(rows[-1]["epoch"]) == 2
    metrics = json.loads((run / "metrics.json").read_text())
    assert {
        "miou",
        "iou",
        "pixel_accuracy",
        "mean_accuracy",
        "frequency_weighted_iou",
        "loss",
        "images",
        "absent_classes",
    } <= set(metrics)
    assert "seed: 3" in (run / "config.yaml").read_text()
    assert "random" in err
    assert "atrous predict" in err

    code, out, err = atrous("evaluate", run, scenes, "--split", "test", "--json", "--out", "scores")
    assert code == 0, err
    assert json.loads(out)["images"] == 2
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text()) == json.loads(out)
    assert (tmp_path / "scores" / "report.html").is_file()

    code, out, err = atrous(
        "predict", run, scenes / "JPEGImages", "--out", "predicted", "--save", "mask,overlay,polygons,table"
    )
    assert code == 0, err
    written = sorted(path.name for path in (tmp_path / "predicted").iterdir())
    assert len(written) == 8 * 4
    with Image.open(tmp_path / "predicted" / "scene_0000.png") as mask:
        assert mask.mode == "P"
        assert mask.size == (96, 64)

    code, out, err = atrous("info", run)
    assert code == 0, err
    assert "deeplabv3plus_mobilenet_v2" in out
    assert "sky" in out


def test_a_training_is_the_same_twice(atrous, scenes, tmp_path):
    for name in ("a", "b"):
        code, _, err = atrous(
            "train", scenes, *TINY_NETWORK, "--epochs", "1", "--batch", "3", "--crop", "48", "64", "--out", name
        )
        assert code == 0, err
    first, second = (library.load(tmp_path / name).network.state_dict() for name in ("a", "b"))
    assert all((first[key] == second[key]).all() for key in first)


def test_what_is_measured_is_what_is_predicted(trained, scenes):
    model = library.load(trained)
    report = library.evaluate(model, scenes, split="val")
    counts = np.zeros_like(report.counts)
    for line in (scenes / "ImageSets/Segmentation/val.txt").read_text().split():
        predicted = model.predict(scenes / "JPEGImages" / f"{line}.jpg").label_map.astype(int)
        with Image.open(scenes / "SegmentationClass" / f"{line}.png") as picture:
            mask = np.asarray(picture).astype(int)
        valid = mask != 255
        counts += np.bincount(mask[valid] * 8 + predicted[valid], minlength=64).reshape(8, 8)
    assert np.array_equal(counts, report.counts)


def test_the_run_goes_on_from_its_own_model(atrous, scenes, trained):
    code, _, err = atrous(
        "train",
        scenes,
        "--weights",
        trained / "model.safetensors",
        "--epochs",
        "1",
        "--batch",
        "2",
        "--crop",
        "48",
        "64",
    )
    assert code == 0, err
    assert "the weights are of that network" in err


def test_frozen_parts_do_not_change(atrous, scenes, trained, tmp_path):
    code, _, err = atrous(
        "train", scenes, "--weights", trained / "model.safetensors", "--freeze", "all-but-last", "--epochs", "1",
        "--batch", "2", "--crop", "48", "64", "--set", "average=false", "warmup=0", "validations=1", "--out", "frozen",
    )  # fmt: skip
    assert code == 0, err
    before, after = (library.load(path).network.state_dict() for path in (trained, tmp_path / "frozen"))
    changed = {key for key in before if not (before[key] == after[key]).all()}
    assert changed == {"classifier.logits.weight", "classifier.logits.bias"}


def test_fail_under(atrous, trained, scenes):
    assert atrous("evaluate", trained, scenes, "--fail-under", "0.99")[0] == 1
    assert atrous("evaluate", trained, scenes, "--fail-under", "0")[0] == 0
    assert atrous("evaluate", trained, scenes, "--fail-under", "50")[0] == 2


def test_a_run_by_the_clock_ends(atrous, scenes):
    code, out, err = atrous("train", scenes, *TINY_NETWORK, "--minutes", "0.05", "--batch", "2", "--crop", "48", "64")
    assert code == 0, err
    assert out.strip()


def test_the_demo_runs(atrous, tmp_path, monkeypatch):
    monkeypatch.setattr("atrous.demo.COUNTS", {"train": 8, "val": 2, "test": 2})
    code, _, err = atrous("demo", "--out", "d", "--minutes", "0.02")
    assert code == 0, err
    assert (tmp_path / "d" / "report.html").is_file()
    assert len(list((tmp_path / "d" / "predictions").glob("*_overlay.png"))) == 2
    code, _, err = atrous("demo", "--out", "d")
    assert code == 2
    assert "already exists" in err


def test_models_and_env_answer(atrous):
    code, out, _ = atrous("models")
    assert code == 0
    assert "deeplabv3_resnet101" in out
    assert "586e9e4e" in out
    code, out, _ = atrous("env")
    assert code == 0
    assert "torch" in out


def test_settings_can_be_listed(atrous):
    code, out, _ = atrous("train", "--print-config", "--set", "rate=0.5")
    assert code == 0
    assert "rate: 0.5" in out


def test_help_is_light():
    program = (
        "import sys; from atrous.__main__ import main; sys.argv = ['atrous', *sys.argv[1:]]; code = main(); "
        "heavy = {'torch', 'cv2', 'matplotlib', 'PIL'} & set(sys.modules); sys.exit(code or (9 if heavy else 0))"
    )
    for arguments in (["--help"], ["--version"], ["train", "--help"], ["demo", "--help"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["train", "--nonsense"], ["train", "--epochs", "many"], ["predict"]]
)
def test_wrong_usage_is_exit_code_2(atrous, arguments):
    code, _, err = atrous(*arguments)
    assert code == 2
    assert err
    assert "Traceback" not in err
