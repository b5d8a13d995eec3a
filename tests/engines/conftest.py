"""Engines by name, with converted files that are made once for all tests."""

import os

import pytest
import torch

from atrous.engines import make_engine

CPU = torch.device("cpu")
PACKAGES = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@pytest.fixture(scope="session")
def kept_files(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache folder, which does not exist yet."""
    monkeypatch.setenv("ATROUS_CACHE", os.fspath(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def engine_of(monkeypatch, kept_files):
    """Make an engine; skips where its packages are not installed."""

    def make(name, network):
        for package in PACKAGES.get(name, ()):
            pytest.importorskip(package, reason=f"{package} (the extra `export`) is not installed")
        monkeypatch.setenv("ATROUS_CACHE", os.fspath(kept_files))
        return make_engine(name, network, device=CPU, bands=3, keep=True)

    return make
