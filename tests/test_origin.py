"""Which network a weights file is of."""

import hashlib
from dataclasses import replace

import pytest
import torch

from atrous.catalogue import find_by_name
from atrous.checkpoint import save_model
from atrous.errors import ConfigError, WeightsError
from atrous.labels import Labels
from atrous.models.deeplab import BACKBONES, build
from atrous.origin import find_origin, published_path
from atrous.preprocessing import Preprocessing
from loopback import running, serve, status


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_backbone_is_known_by_its_keys(backbone, tmp_path):
    names = BACKBONES[backbone]().state_dict()
    prefix = "features." if backbone.startswith("mobilenet") else ""
    torch.save({f"{prefix}{name}": torch.zeros(1) for name in names}, tmp_path / "b.pth")
    origin = find_origin(str(tmp_path / "b.pth"))
    assert (origin.backbone, origin.model) == (backbone, None)


@pytest.mark.parametrize("name", ["deeplabv3_resnet18", "deeplabv3plus_mobilenet_v3_large"])
def test_a_whole_network_is_known_by_its_keys(name, tmp_path):
    torch.save({key: torch.zeros(1) for key in build(name).state_dict()}, tmp_path / "n.pth")
    assert find_origin(str(tmp_path / "n.pth")).model == name


def test_a_model_file_tells_its_network_and_how_pixels_are_scaled(tmp_path):
    network = build("deeplabv3_resnet18", num_classes=2, aspp_channels=8)
    half = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resize="longest side", resize_to=513)
    save_model(tmp_path / "m.safetensors", network, labels=Labels.numbered(2), preprocessing=half)
    origin = find_origin(str(tmp_path / "m.safetensors"))
    assert origin.model == "deeplabv3_resnet18"
    assert origin.network["aspp_channels"] == 8
    assert "num_classes" not in origin.network
    assert origin.preprocessing == half


def test_no_file_is_needed_for_none_and_names():
    assert find_origin("none").path is None
    assert find_origin("auto").path is None
    assert published_path("none", "deeplabv3_resnet18") is None


def test_a_file_that_is_not_there():
    with pytest.raises(WeightsError, match="no such file"):
        find_origin("nowhere.pth")


def test_nothing_published(monkeypatch, tmp_path):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="nothing is published"):
        published_path("voc", "deeplabv3plus_resnet18")
    with pytest.raises(WeightsError, match="SHA-256"):
        published_path("imagenet", "deeplabv3plus_resnet18")


def test_published_weights_are_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    content = b"content"
    with running() as server:
        weights = replace(
            find_by_name("resnet18"), file=f"r-{hashlib.sha256(content).hexdigest()[:8]}.pth", site=server.site
        )
        monkeypatch.setattr("atrous.catalogue.PUBLISHED_WEIGHTS", (weights,))
        server.will(serve(content))
        notes = []
        for word in ("auto", "imagenet"):
            path = published_path(word, "deeplabv3plus_resnet18", note=notes.append)
            assert path is not None
            assert path.read_bytes() == content
        assert len(notes) == 1
        path.unlink()
        server.will(status(404))
        with pytest.raises(WeightsError, match=r"--weights auto: .*answered 404.*--weights none"):
            published_path("auto", "deeplabv3plus_resnet18")
