import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from atrous.catalogue import (
    PUBLISHED_WEIGHTS,
    PublishedWeights,
    find_by_name,
    find_published,
    locate,
    obtain,
    offline_message,
)
from atrous.errors import WeightsError
from atrous.models import NETWORKS, build
from loopback import Loopback, running, serve, status

WEIGHTS = PUBLISHED_WEIGHTS[0]
CONTENT = b"weights" * 1000
WITHOUT_WEIGHTS = {"xception65"}
"""Backbones that nobody publishes ImageNet weights of, in a form that fits."""


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


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with running() as loopback:
        yield loopback


def tiny(server: Loopback, content: bytes = CONTENT) -> PublishedWeights:
    return PublishedWeights(
        file=f"fake-{hashlib.sha256(content).hexdigest()[:8]}.pth",
        kind="backbone",
        fits="resnet18",
        score=12.5,
        measured_on="nothing",
        labels=None,
        site=server.site,
    )


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.partition("_")[2] not in WITHOUT_WEIGHTS])
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


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth"),
        ("deeplabv3plus_resnet50", "resnet50-11ad3fa6.pth"),
        ("resnet50", "resnet50-11ad3fa6.pth"),
        ("resnet50-0676ba61.pth", "resnet50-0676ba61.pth"),
    ],
)
def test_weights_are_found_by_name(name: str, file: str) -> None:
    assert find_by_name(name).file == file


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(WeightsError, match=r"'resnet51'.*mobilenet_v3_large.*Correct the name"):
        find_by_name("resnet51")


def test_weights_are_fetched_once(server: Loopback, tmp_path: Path) -> None:
    server.will(serve(CONTENT))
    notes, lines = list[str](), list[str]()
    weights = tiny(server)
    for _ in range(2):
        path = obtain(weights, note=notes.append, status=lambda text: lines.append(text()))
        assert path == tmp_path / weights.file
        assert path.read_bytes() == CONTENT
    assert len(server.ranges) == len(notes) == 1
    assert weights.address in notes[0]
    assert str(tmp_path) in notes[0]
    assert weights.file in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == [weights.file]


def test_the_folder_of_the_cache_is_made(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "a" / "b"))
    server.will(serve(CONTENT))
    assert obtain(tiny(server)).parent == tmp_path / "a" / "b"


@pytest.mark.parametrize("answer", [status(404), serve(CONTENT[:-1])])
def test_weights_that_cannot_be_had_say_all_that_is_needed(server: Loopback, tmp_path: Path, answer) -> None:
    server.will(answer)
    weights = tiny(server)
    with pytest.raises(WeightsError) as caught:
        obtain(weights)
    for part in (
        weights.address,
        weights.hash_prefix,
        str(tmp_path / weights.file),
        "--weights none",
        "--fetch resnet18",
    ):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_not_overwritten(server: Loopback, tmp_path: Path) -> None:
    server.will(serve(CONTENT))
    weights = tiny(server)
    (tmp_path / weights.file).write_bytes(b"mine")
    with pytest.raises(WeightsError, match="Remove it"):
        obtain(weights)
    assert (tmp_path / weights.file).read_bytes() == b"mine"
    assert server.ranges == []
