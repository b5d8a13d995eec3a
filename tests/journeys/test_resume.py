"""A run that is stopped or killed goes on exactly."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

import atrous as library
from atrous.claims import claimed
from atrous.evaluation import evaluate_samples
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


@pytest.mark.parametrize("damage", ["nothing", "garbage", "no settings"])
def test_what_cannot_be_resumed(atrous, tmp_path, whole, damage):
    folder = tmp_path / "run"
    folder.mkdir()
    if damage == "garbage":
        (folder / "config.yaml").write_text("{[")
    if damage == "no settings":
        (folder / "config.yaml").write_text("format_version: 1\nsettings: {rte: 3}\n")
    code, _, err = atrous("train", "--resume", folder)
    assert code == 2
    assert "Traceback" not in err
    assert "internal" not in err
    assert str(folder) in err or "rte" in err


def copy_of(whole, folder, *left_out):
    shutil.copytree(whole, folder)
    for name in left_out:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def test_a_run_killed_before_its_first_state_begins_anew(atrous, tmp_path, whole):
    run = copy_of(whole, tmp_path / "run", "last", "model.safetensors", "metrics.json", "report.html")
    code, _, err = atrous("train", "--resume", run)
    assert code == 0, err
    assert "it begins anew" in err
    assert same(weights_of(run), weights_of(whole))


def test_a_run_killed_while_it_closed_is_closed(atrous, tmp_path, whole):
    run = copy_of(whole, tmp_path / "run", "metrics.json", "report.html")
    code, _, err = atrous("train", "--resume", run)
    assert code == 0, err
    assert (run / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    assert (run / "report.html").is_file()
    assert same(weights_of(run), weights_of(whole))


def test_a_damaged_state_gives_way_to_the_one_before(atrous, tmp_path, whole):
    run = copy_of(whole, tmp_path / "run", "metrics.json")
    (run / "last/state.safetensors").write_bytes(b"damaged")
    code, _, err = atrous("train", "--resume", run)
    assert code == 0, err
    assert "The state before it is tried." in err
    assert "going on after step 3" in err
    assert same(weights_of(run), weights_of(whole))


def test_a_folder_in_which_another_process_trains_is_left_alone(atrous, tmp_path, whole):
    run = copy_of(whole, tmp_path / "run", "metrics.json")
    with claimed(run / "run") as ours:
        assert ours
        code, _, err = atrous("train", "--resume", run)
    assert code == 2
    assert "another process is training in this folder" in err


def test_a_stop_inside_a_validation_makes_it_again(atrous, scenes, whole, tmp_path, monkeypatch):
    def evaluating(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate_samples(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("atrous.training.validation.evaluate_samples", evaluating)
        code, _, err = atrous("train", scenes, *TRAIN, "--out", "run")
    assert code == 143, err
    assert not (tmp_path / "run/history.csv").exists()
    assert load_state(tmp_path / "run/last/state.safetensors")["position"]["due"]
    code, _, err = atrous("train", "--resume", "run")
    assert code == 0, err
    assert same(weights_of(tmp_path / "run"), weights_of(whole))
    rows = [(tmp_path / "run/history.csv").read_text().count("\n"), (whole / "history.csv").read_text().count("\n")]
    assert rows[0] == rows[1]


def test_a_run_of_two_stages_with_parts_and_rare_classes_resumes_exactly(atrous, scenes, tmp_path, monkeypatch):
    """At a step of the second stage, whose network has another stride and whose optimiser is new."""
    options = ["--output-stride", "16", "--set", "second_stage=0.5", "accumulate=2", "rare_crops=0.5", "paste=0.5"]
    options += ["loss=cross_entropy+lovasz", "jpeg=0.5", "blur=0.5", "schedule=cosine", "layer_decay=0.7"]
    assert atrous("train", scenes, *TRAIN, *options, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        signal_at(patch, signal.SIGTERM, 4)
        code, _, err = atrous("train", scenes, *TRAIN, *options, "--out", "run")
    assert code == 143
    assert "stage 2: output stride 8" in err
    assert load_state(tmp_path / "run/last/state.safetensors")["position"]["stage"] == 1
    code, _, err = atrous("train", "--resume", "run")
    assert code == 0, err
    assert same(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))
    states = [load_state(tmp_path / name / "last/state.safetensors") for name in ("run", "whole")]
    assert same(states[0]["network"], states[1]["network"])


def test_resume_takes_nothing_else(atrous, scenes):
    assert atrous("train", scenes, "--resume", "run")[0] == 2
    assert atrous("train", "--resume", "run", "--epochs", "3")[0] == 2


def test_data_that_changed_are_told(atrous, tmp_path, whole, scenes):
    copy_of(whole, tmp_path / "run", "metrics.json")
    shutil.copytree(scenes, tmp_path / "other")
    (tmp_path / "other/ImageSets/Segmentation/train.txt").write_text("scene_0000\nscene_0001\n")
    config = (tmp_path / "run/config.yaml").read_text()
    (tmp_path / "run/config.yaml").write_text(config.replace(str(scenes.resolve()), str(tmp_path / "other")))
    code, _, err = atrous("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "the data changed" in err
