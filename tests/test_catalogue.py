import hashlib
import re
from pathlib import Path

import pytest
import torch

import atrous.catalogue
from atrous.catalogue import PUBLISHED_WEIGHTS, PublishedWeights, cache_folder, find_published, locate, offline_message
from atrous.errors import WeightsError
from atrous.models import NETWORKS, build

WEIGHTS = PUBLISHED_WEIGHTS[0]


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))


@pytest.mark.parametrize("weights", PUBLISHED_WEIGHTS, ids=lambda weights: weights.file)
def test_every_entry_fits_a_real_network(weights: PublishedWeights) -> None:
    assert re.fullmatch(r"[0-9a-f]{8}", weights.hash_prefix)
    assert weights.address == f"https://download.pytorch.org/models/{weights.file}"
    assert weights.licence == "BSD-3-Clause"
    if weights.kind == "network":
        with torch.device("meta"):
            network = build(weights.fits, num_classes=21, auxiliary=True)
        assert weights.labels is not None
        assert weights.labels.num_classes == 21
        # The file is little more than the float32 tensors.
        bytes_of_tensors = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        assert weights.megabytes == pytest.approx(bytes_of_tensors / 2**20, rel=0.01)
    else:
        assert any(name.endswith(f"_{weights.fits}") for name in NETWORKS)
    assert weights.preprocessing.bands == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_there_is_something_for_every_network(name: str) -> None:
    backbone = find_published(name, kind="backbone")
    assert backbone is not None
    assert name.endswith(f"_{backbone.fits}")
    network = find_published(name, kind="network")
    assert find_published(name) == (network or backbone)
    assert (network is None) or network.fits == name
    assert find_published("deeplabv3_unknown") is None


def test_the_published_networks_are_torchvisions_three() -> None:
    names = {name for name in NETWORKS if find_published(name, kind="network")}
    assert names == {"deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large"}


def test_a_file_counts_only_with_the_right_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"weights"
    fake = PublishedWeights(
        file=f"fake-{hashlib.sha256(content).hexdigest()[:8]}.pth",
        kind="backbone",
        fits="resnet18",
        score=0,
        measured_on="nothing",
        labels=None,
    )
    assert locate(fake) is None
    path = tmp_path / fake.file
    path.write_bytes(content)
    assert locate(fake) == path
    path.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=rf"Expected one that begins with {fake.hash_prefix}.*fetch https://"):
        locate(fake)
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        locate(fake)


def test_the_offline_message_has_file_address_hash_and_place(tmp_path: Path) -> None:
    message = offline_message(WEIGHTS)
    for part in (WEIGHTS.address, WEIGHTS.hash_prefix, str(tmp_path / WEIGHTS.file), "--weights none", "161 MB"):
        assert part in message


def test_the_cache_folder_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ATROUS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for system, folder in (
        ("linux", ".cache/atrous"),
        ("darwin", "Library/Caches/atrous"),
        ("win32", "AppData/Local/atrous/cache"),
    ):
        monkeypatch.setattr(atrous.catalogue.sys, "platform", system)
        assert cache_folder() == tmp_path / folder
    monkeypatch.setattr(atrous.catalogue.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "atrous"


def test_no_home_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ATROUS_CACHE")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder().is_absolute()
    assert locate(WEIGHTS) is None
    assert str(cache_folder()) in offline_message(WEIGHTS)
