"""A run that is stopped or killed goes on exactly."""

import os
import signal
import subprocess
import sys

import pytest
import torch

import atrous as library
from atrous.states import load_state
from atrous.training.steps import Stepper
from tiny_training import TINY_NETWORK

TRAIN = [*TINY_NETWORK, "validations=2", "--epochs", "3", "--batch", "2", "--crop", "48", "64"]  # 6 steps


def weights_of(folder):
    return library.load(folder).network.state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, scenes):
    """The run folder of the training without a stop."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, "-m", "atrous", "train", str(scenes), *TRAIN, "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


def signal_at(monkeypatch, number, step):
    """Send this process a signal while it takes a step."""
    plain = Stepper.step

    def stepping(self, batch, *, number):
        loss = plain(self, batch, number=number)
        if number == step:
            os.kill(os.getpid(), signal_number)
        return loss

    signal_number = number
    monkeypatch.setattr(Stepper, "step", stepping)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("step", [0, 3, 4])
def test_a_stopped_run_resumes_bit_for_bit(atrous, scenes, whole, tmp_path, monkeypatch, number, code, step):
    with monkeypatch.context() as patch:
        signal_at(patch, number, step)
        stopped, _, err = atrous("train", scenes, *TRAIN, "--out", "run")
    assert stopped == code, err
    assert "atrous train --resume" in err
    assert load_state(tmp_path / "run/last/state.safetensors")["position"]["step"] == step + 1
    resumed, _, err = atrous("train", "--resume", "run")
    assert resumed == 0, err
    assert f"going on after step {step + 1}" in err
    assert same(weights_of(tmp_path / "run"), weights_of(whole))
    ours, theirs = (load_state(folder / "last/state.safetensors") for folder in (tmp_path / "run", whole))
    assert same(ours["network"], theirs["network"])
    assert same(ours["average"]["tensors"], theirs["average"]["tensors"])
    assert torch.equal(ours["random"], theirs["random"])
    moments = [state["optimizer"]["state"] for state in (ours, theirs)]
    assert all(same(moments[0][key], moments[1][key]) for key in moments[1])
    histories = [
        [(row["step"], row["loss"], row["val_miou"]) for row in state["position"]["history"]]
        for state in (ours, theirs)
    ]
    assert histories[0] == histories[1]
    assert (tmp_path / "run/metrics.json").is_file()


def test_a_finished_run_says_so(atrous, whole):
    code, _, err = atrous("train", "--resume", whole)
    assert code == 2
    assert "come to its end" in err


@pytest.mark.parametrize("damage", ["nothing", "garbage", "no state"])
def test_what_cannot_be_resumed(atrous, tmp_path, whole, damage):
    folder = tmp_path / "run"
    folder.mkdir()
    if damage == "garbage":
        (folder / "config.yaml").write_text("{[")
    if damage == "no state":
        (folder / "config.yaml").write_bytes((whole / "config.yaml").read_bytes())
    code, _, err = atrous("train", "--resume", folder)
    assert code == 2
    assert "Traceback" not in err
    assert str(folder) in err


def test_resume_takes_nothing_else(atrous, scenes):
    assert atrous("train", scenes, "--resume", "run")[0] == 2
    assert atrous("train", "--resume", "run", "--epochs", "3")[0] == 2


def test_data_that_changed_are_told(atrous, tmp_path, whole, scenes):
    import shutil

    shutil.copytree(whole, tmp_path / "run")
    shutil.copytree(scenes, tmp_path / "other")
    (tmp_path / "other/ImageSets/Segmentation/train.txt").write_text("scene_0000\nscene_0001\n")
    config = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.yaml").write_text(config.replace(str(scenes.resolve()), str(tmp_path / "other")))
    code, _, err = atrous("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "the data changed" in err
