"""What several tests need: tiny generated data, and the command line in this process."""

import os
import socket
import sys
from pathlib import Path

import pytest
import torch

from atrous.demo import write_scenes

# One thread per test process: pytest runs as many processes as there are cores.
torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the campaigns (tests/campaigns) at their full size")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Names of other machines lead nowhere, as on a machine without a network; this machine's own numbers work."""
    lookup = socket.getaddrinfo

    def local_only(host, *arguments, **options):
        if host in ("127.0.0.1", "::1", "localhost", None):
            return lookup(host, *arguments, **options)
        raise socket.gaierror(socket.EAI_NONAME, "the tests have no network")

    monkeypatch.setattr(socket, "getaddrinfo", local_only)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Eight generated scenes of 64x96 in a VOC-like folder; read only."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, seed=7, counts={"train": 4, "val": 2, "test": 2}, size=(64, 96))
    return root


@pytest.fixture
def shared():
    """The development data beside the repository; tests that need it skip without it."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the development data (../shared/data) is not there")
    return folder


@pytest.fixture
def atrous(monkeypatch, capsys, tmp_path):
    """Run a command line in this process, in an empty folder: returns (exit code, standard output, standard error)."""
    from atrous.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATROUS_CACHE", os.fspath(tmp_path / "cache"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["atrous", *map(str, arguments)])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def trained(scenes, tmp_path_factory):
    """The run folder of one tiny training on `scenes`; read only."""
    from atrous import api

    run = api.train(
        scenes,
        out=tmp_path_factory.mktemp("runs") / "tiny",
        model="deeplabv3plus_mobilenet_v2",
        network={"aspp_channels": 8, "decoder_channels": 8, "separable": True, "atrous_rates": (2, 4)},
        weights="none",
        epochs=1,
        batch=2,
        crop=(48, 64),
        validations=1,
        device="cpu",
    )
    return run.folder
