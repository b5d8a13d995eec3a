"""Starting, killing and comparing trainings in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

import atrous as library
from atrous.states import load_state
from tiny_training import TINY_NETWORK

# 12 steps, a validation and a state after every second one.
TRAIN = [*TINY_NETWORK, "validations=6", "--epochs", "6", "--batch", "2", "--crop", "48", "64"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
DRIVER = Path(__file__).with_name("driver.py")


def start(data, out, *, driver=()):
    """Start the training and wait until it has told its folder."""
    begin = [DRIVER, *driver, "--"] if driver else ["-m", "atrous"]
    command = [sys.executable, *begin, "train", data, *TRAIN, "--out", out]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("run folder"):
            break
    else:
        raise AssertionError("".join(said))
    return process


def resume(folder):
    """Go on; returns (exit code, standard error)."""
    command = [sys.executable, "-m", "atrous", "train", "--resume", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    return done.returncode, done.stderr


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def assert_equal_runs(run, whole):
    """Best model, weights, running mean, moments, random numbers and scores, bit for bit."""
    assert same(library.load(run).network.state_dict(), library.load(whole).network.state_dict())
    ours, theirs = (load_state(folder / "last/state.safetensors") for folder in (run, whole))
    assert same(ours["network"], theirs["network"])
    assert same(ours["average"]["tensors"], theirs["average"]["tensors"])
    assert torch.equal(ours["random"], theirs["random"])
    moments = [state["optimizer"]["state"] for state in (ours, theirs)]
    assert moments[0].keys() == moments[1].keys()
    assert all(same(moments[0][key], moments[1][key]) for key in moments[1])
    columns = ("step", "loss", "val_loss", "val_miou", "rate", "gradient_norm")
    histories = [[[row[key] for key in columns] for row in state["position"]["history"]] for state in (ours, theirs)]
    assert histories[0] == histories[1]
    assert (run / "metrics.json").read_text() == (whole / "metrics.json").read_text()
    left = [path.name for path in run.rglob(".atrous-*")]
    assert not left
