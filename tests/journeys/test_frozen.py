"""Trainings of a last layer or a head, with and without kept outputs, through the command line."""

import re

import pytest
import torch

import atrous as library
from tiny_training import TINY_NETWORK

TRAIN = [*TINY_NETWORK, "validations=2", "--epochs", "4", "--batch", "2", "--crop", "48", "64"]


def weights_of(folder):
    return library.load(folder).network.state_dict()


@pytest.mark.parametrize("options", [["--freeze", "all-but-last", "--views", "1"], ["--freeze-until", "stage3"]])
def test_outputs_are_kept_and_used_again(atrous, scenes, tmp_path, options):
    code, _, err = atrous("train", scenes, *TRAIN, *options, "--out", "first")
    assert code == 0, err
    assert "runs once per image and view" in err
    entries = list((tmp_path / "cache/features").rglob("*.safetensors"))
    assert len(entries) == 4 * (1 if "--views" in options else 4)
    ages = {path: path.stat().st_ino for path in entries}
    code, _, err = atrous("train", scenes, *TRAIN, *options, "--out", "second")
    assert code == 0, err
    again = {path: path.stat().st_ino for path in (tmp_path / "cache/features").rglob("*.safetensors")}
    assert again == ages
    first, second = weights_of(tmp_path / "first"), weights_of(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_without_room_it_goes_on_and_says_so(atrous, scenes, tmp_path):
    code, _, err = atrous("train", scenes, *TRAIN, "--freeze", "backbone", "--cache-gb", "0", "--out", "run")
    assert code == 0, err
    assert re.search(
        r"computed anew every time: its outputs would take 4 images x 4 views x .* cache_gb=0 allows less", err
    )
    assert not (tmp_path / "cache/features").exists()


def test_a_wrong_stage_lists_the_right_ones(atrous, scenes):
    code, _, err = atrous("train", scenes, *TRAIN, "--freeze-until", "layer2")
    assert code == 2
    assert "expected one of stage1, stage2, stage3" in err


def test_a_plan_is_told_and_nothing_is_written(atrous, scenes, tmp_path):
    code, out, err = atrous("train", scenes, *TRAIN, "--plan")
    assert code == 0, err
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert set(lines) == {"network", "images", "length", "time", "memory", "disk"}
    assert "8 steps, 4.0 epochs, 2 validations" in lines["length"]
    assert not list(tmp_path.iterdir())


def test_a_longer_run_tells_its_plan_and_trains_as_without(atrous, scenes, tmp_path, monkeypatch):
    assert atrous("train", scenes, *TRAIN, "--out", "plain")[0] == 0
    monkeypatch.setattr("atrous.training.loop.WORTH_MEASURING", 0)
    code, _, err = atrous("train", scenes, *TRAIN, "--out", "told")
    assert code == 0
    assert "time        " in err
    first, second = weights_of(tmp_path / "plain"), weights_of(tmp_path / "told")
    assert all(torch.equal(first[name], second[name]) for name in first)
