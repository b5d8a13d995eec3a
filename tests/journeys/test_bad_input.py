"""Bad input gets a message with the next step and the right exit code, and nothing half-written."""

import errno
import shutil

import numpy as np
import pytest
from PIL import Image

from tiny_training import TINY_NETWORK

SHORT = [*TINY_NETWORK, "--epochs", "1", "--batch", "2", "--crop", "48", "64"]


@pytest.fixture
def damaged(scenes, tmp_path):
    """A copy of the scenes that a test may damage."""
    copy = tmp_path / "data"
    shutil.copytree(scenes, copy)
    return copy


def mask_of(root, number=0):
    return root / "SegmentationClass" / f"scene_{number:04d}.png"


def image_of(root, number=0):
    return root / "JPEGImages" / f"scene_{number:04d}.jpg"


def no_image(root):
    image_of(root).unlink()


def no_mask(root):
    mask_of(root).unlink()


def broken_image(root):
    image_of(root).write_bytes(image_of(root).read_bytes()[:300])


def text_as_mask(root):
    mask_of(root).write_text("not a picture")


def other_size(root):
    Image.fromarray(np.zeros((64, 97), np.uint8)).save(mask_of(root))


def foreign_value(root):
    with Image.open(mask_of(root)) as picture:
        mask = np.array(picture)
    mask[3, 5:9] = 77
    Image.fromarray(mask).save(mask_of(root))


def rgb_mask(root):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(mask_of(root))


def jpeg_mask(root):
    with Image.open(mask_of(root)) as picture:
        grey = picture.convert("L")
    grey.save(mask_of(root), "JPEG")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (no_image, "scene_0000"),
        (no_mask, "scene_0000"),
        (broken_image, "scene_0000.jpg"),
        (text_as_mask, "scene_0000.png"),
        (other_size, "64 x 97"),
        (foreign_value, "77"),
        (rgb_mask, "colour"),
        (jpeg_mask, "JPEG"),
    ],
)
def test_damaged_data_is_told_by_check_and_stops_training(atrous, damaged, tmp_path, damage, expected):
    damage(damaged)
    code, out, _ = atrous("check", damaged)
    assert code == 1
    assert expected in out
    assert "1 errors" in out
    code, out, err = atrous("train", damaged, *SHORT)
    assert code == 2
    assert expected in err
    assert "atrous check" in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_a_foreign_value_is_told_with_its_count(atrous, damaged):
    foreign_value(damaged)
    _, out, _ = atrous("check", damaged)
    assert "4 pixels" in out
    assert "77" in out


def test_an_empty_folder(atrous, tmp_path):
    (tmp_path / "empty").mkdir()
    for verb in (["check"], ["train"]):
        code, _, err = atrous(*verb, tmp_path / "empty")
        assert code == 2
        assert "empty" in err


def test_no_such_folder(atrous):
    code, _, err = atrous("check", "nowhere")
    assert code == 2
    assert "nowhere" in err


def test_json_and_github_formats(atrous, damaged):
    import json

    no_mask(damaged)
    code, out, _ = atrous("check", damaged, "--format", "json")
    assert code == 1
    assert [finding["code"] for finding in json.loads(out)["findings"] if finding["severity"] == "error"] == ["D001"]
    code, out, _ = atrous("check", damaged, "--format", "github", "--select", "D001")
    assert out.startswith("::error file=")
    assert atrous("check", damaged, "--ignore", "D001")[0] == 0


def test_a_checkpoint_that_is_none(atrous, scenes, tmp_path):
    (tmp_path / "fake.pth").write_bytes(b"hello")
    code, _, err = atrous("train", scenes, "--weights", tmp_path / "fake.pth", "--epochs", "1")
    assert code == 2
    assert "fake.pth" in err
    for verb in (["info", tmp_path / "fake.pth"], ["evaluate", tmp_path / "fake.pth", scenes]):
        code, _, err = atrous(*verb)
        assert code == 2
        assert "fake.pth" in err
        assert "Traceback" not in err


def test_published_weights_that_are_not_there_say_what_to_fetch(atrous, scenes):
    code, _, err = atrous("train", scenes, "--epochs", "1", "--model", "deeplabv3_resnet50")
    assert code == 2
    assert "deeplabv3_resnet50_coco-cd0a2569.pth" in err
    assert "cd0a2569" in err
    assert "--weights none" in err


def test_a_crop_larger_than_every_image(atrous, scenes):
    code, _, err = atrous("train", scenes, *TINY_NETWORK, "--epochs", "1", "--crop", "900", "900")
    assert code == 2
    assert "larger than every image" in err
    assert "--crop 128 192" in err


def test_a_batch_larger_than_the_set(atrous, scenes):
    code, _, err = atrous("train", scenes, *TINY_NETWORK, "--epochs", "1", "--batch", "64")
    assert code == 2
    assert "training set of 4 images" in err


def test_a_full_disk_stops_before_the_first_step(atrous, scenes, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    code, _, err = atrous("train", scenes, *SHORT)
    assert code == 2
    assert "free" in err


def test_a_disk_that_fills_up_leaves_nothing_half_written(atrous, trained, scenes, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = atrous("predict", trained, scenes / "JPEGImages", "--out", tmp_path / "out")
    assert code == 2
    assert "space" in err.lower()
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written(atrous, trained, scenes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = atrous("predict", trained, scenes / "JPEGImages", "--out", tmp_path / "file" / "out")
    assert code == 2
    assert "file" in err
    code, _, err = atrous("train", scenes, *SHORT, "--out", tmp_path / "file" / "run")
    assert code == 2
    assert "Traceback" not in err


def test_a_run_is_never_overwritten(atrous, scenes, trained):
    code, _, err = atrous("train", scenes, *SHORT, "--out", trained)
    assert code == 2
    assert "never overwritten" in err


def test_bad_files_are_reported_and_the_rest_go_on(atrous, trained, damaged, tmp_path):
    broken_image(damaged)
    (damaged / "JPEGImages" / "notes.txt").write_text("not an image")
    code, out, err = atrous("predict", trained, damaged / "JPEGImages", "--out", tmp_path / "out", "--save", "mask")
    assert code == 1
    assert len(out.split()) == 7
    assert "scene_0000.jpg" in err
    assert "scene_0000.jpg" in (tmp_path / "out" / "errors.jsonl").read_text()


def test_inputs_that_do_not_exist(atrous, trained, tmp_path):
    code, _, err = atrous("predict", trained, "nothing/*.png", "--out", tmp_path / "out")
    assert code == 2
    assert "nothing/*.png" in err
    assert atrous("predict", trained, "--out", tmp_path / "out")[0] == 2


def test_an_unknown_kind_of_result(atrous, trained, scenes, tmp_path):
    code, _, err = atrous("predict", trained, scenes / "JPEGImages", "--out", tmp_path / "out", "--save", "masks")
    assert code == 2
    assert "expected mask" in err


def test_a_split_that_is_not_there(atrous, trained, scenes):
    code, _, err = atrous("evaluate", trained, scenes, "--split", "tests")
    assert code == 2
    assert "found: train (4), val (2), test (2)" in err


def test_classes_that_differ(atrous, trained, scenes, tmp_path):
    shutil.copytree(scenes, tmp_path / "voc")
    (tmp_path / "voc" / "labelmap.txt").unlink()
    code, _, err = atrous("evaluate", trained, tmp_path / "voc")
    assert code == 2
    assert "21 classes" in err


def test_a_device_that_is_not_there(atrous, scenes):
    code, _, err = atrous("train", scenes, *SHORT, "--device", "cuda:7")
    assert code == 2
    assert "cuda:7" in err


def test_a_diverged_loss_stops_the_run_and_is_never_kept(atrous, scenes, tmp_path):
    options = [*TINY_NETWORK, "rate=1e25", "validations=6", "optimizer=sgd", "warmup=0"]
    code, _, err = atrous(
        "train", scenes, *options, "--epochs", "6", "--batch", "2", "--crop", "48", "64", "--out", "run"
    )
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert "became nan at step" in last or "became inf at step" in last
    assert "scene_000" in last
    assert "Lower the rate" in last
    assert "--resume" not in last
    assert not list(tmp_path.rglob(".atrous-*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "loss=dyce"], "'dyce' in 'dyce' is no loss; expected cross_entropy, focal"),
        (["--set", "schedule=step"], "schedule: Input should be 'poly', 'cosine', 'one-cycle' or 'constant'"),
        (["--set", "rae=1"], "did you mean 'rate'"),
        (["--recipe", "papr"], "did you mean 'paper'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--batch", "2", "--set", "accumulate=3"], "accumulate 3 is more than the batch of 2"),
        (["--set", "batch_norm=freeze"], "--weights none has none"),
        (["--epochs", "2", "--set", "steps=4"], "epochs and steps are both given"),
    ],
)
def test_settings_that_cannot_be(atrous, scenes, arguments, message):
    code, out, err = atrous("train", scenes, *TINY_NETWORK, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
