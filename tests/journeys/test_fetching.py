"""Journeys that fetch: weights and public data by name, from a server on this machine."""

import hashlib
import io
import tarfile
from dataclasses import replace

import pytest
import torch
from PIL import Image

import atrous as library
from atrous.catalogue import find_by_name
from atrous.data import public
from atrous.models.deeplab import BACKBONES, NETWORKS
from loopback import running, serve, status
from tiny_training import TINY_NETWORK

NETWORK = [argument for argument in TINY_NETWORK if not argument.startswith("--weights")]
SHORT = ["--epochs", "1", "--batch", "2", "--crop", "48", "64"]


@pytest.fixture(scope="module")
def server():
    with running() as loopback:
        yield loopback


@pytest.fixture(scope="module")
def backbone():
    """MobileNetV2 with the key names of torchvision's file, and the file's bytes."""
    torch.manual_seed(5)
    tensors = {f"features.{name}": tensor for name, tensor in BACKBONES["mobilenet_v2"]().state_dict().items()}
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return tensors, stream.getvalue()


@pytest.fixture
def published(server, backbone, monkeypatch):
    """The only published weights are those, on this machine."""
    content = backbone[1]
    weights = replace(
        find_by_name("mobilenet_v2"),
        file=f"mobilenet_v2-{hashlib.sha256(content).hexdigest()[:8]}.pth",
        site=server.site,
    )
    monkeypatch.setattr("atrous.catalogue.PUBLISHED_WEIGHTS", (weights,))
    monkeypatch.setattr("atrous.download.FIRST_WAIT_SECONDS", 0)
    return weights


def test_a_training_starts_from_weights_that_it_fetches(atrous, scenes, server, backbone, published, tmp_path):
    tensors, content = backbone
    server.will(serve(content, breaks_after=2**20), serve(content))
    frozen = ["--freeze", "backbone", "--out", "first"]
    code, _, err = atrous("train", scenes, *NETWORK, *SHORT, *frozen)
    assert code == 0, err
    assert f"fetching {published.address}" in err
    assert server.ranges == [None, f"bytes={2**20}-"]
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_file()] == [published.file]
    trained = library.load(tmp_path / "first").network.state_dict()
    name = "1.conv.0.0.weight"
    assert torch.equal(trained[f"backbone.{name}"], tensors[f"features.{name}"])

    server.will(status(500))
    code, _, err = atrous("train", scenes, *NETWORK, *SHORT, "--weights", "imagenet", "--out", "second")
    assert code == 0, err
    assert "fetching" not in err
    assert server.ranges == []


def test_weights_fetched_ahead(atrous, server, backbone, published, tmp_path, monkeypatch):
    name = "deeplabv3plus_mobilenet_v2"
    monkeypatch.setattr("atrous.models.NETWORKS", {name: NETWORKS[name]})  # counting all takes seconds
    server.will(serve(backbone[1]))
    code, out, err = atrous("models", "--fetch", f"{name},mobilenet_v2")
    assert code == 0, err
    assert out.split() == [str(tmp_path / "cache" / published.file)] * 2
    code, out, err = atrous("models", "--size", "65", "129", "--classes", "2")
    assert code == 0, err
    assert "65x129" in out
    assert next(line for line in out.splitlines() if line.startswith(name)).split()[3:] == ["16", "imagenet"]
    row = next(line for line in out.splitlines() if line.startswith(published.file))
    assert row.split()[1:6] == ["imagenet", "mobilenet_v2", published.hash_prefix, "BSD-3-Clause", "yes"]
    assert "72.15 % top-1" in row
    (tmp_path / "cache" / published.file).write_bytes(b"")
    assert "damaged" in atrous("models", "--size", "65", "65")[1]


@pytest.mark.parametrize(
    "arguments",
    [["train", "DATA", *NETWORK, *SHORT], ["models", "--fetch", "mobilenet_v2"]],
)
@pytest.mark.parametrize("answer", [status(404), serve(b"another file")])
def test_weights_that_cannot_be_fetched(atrous, scenes, server, published, tmp_path, arguments, answer):
    server.will(answer)
    code, out, err = atrous(*(scenes if argument == "DATA" else argument for argument in arguments))
    assert code == 2
    assert out == ""
    for part in (published.address, published.hash_prefix, str(tmp_path / "cache" / published.file), "--weights none"):
        assert part in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["models", "--fetch", "resnet51"], "'resnet51'"),
        (["models", "--fetch", ""], "Correct the name"),
        (["models", "--fetch", "resnet50,"], "Correct the name"),
        (["models", "--fetch", "resnet50"], "no way to the server"),
        (["models", "--size", "0", "5"], "1 or more"),
        (["models", "--classes", "0"], "1 or more"),
        (["models", "--fetch", "deeplabv3_resnet101"], "586e9e4e"),
    ],
)
def test_wrong_usage_and_no_network(atrous, arguments, expected):
    code, _, err = atrous(*arguments)
    assert code == 2
    assert expected in err


def test_voc_by_its_name(atrous, server, tmp_path, monkeypatch):
    root = tmp_path / "made"
    for split, names in {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033"]}.items():
        for folder, suffix, image in (
            ("JPEGImages", "jpg", Image.new("RGB", (96, 64), (90, 40, 200))),
            ("SegmentationClass", "png", Image.new("P", (96, 64), 3)),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for name in names:
                image.save(root / folder / f"{name}.{suffix}")
        (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(root, "VOCdevkit/VOC2012")
    content = stream.getvalue()
    place = {"address": f"{server.site}/voc.tar", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(public, "VOC_ARCHIVE", replace(public.VOC_ARCHIVE, **place))
    server.will(serve(content))
    code, out, err = atrous("check", "voc2012")
    assert code == 0, err
    assert f"fetching {server.site}/voc.tar" in err
    assert "3 pairs" in out
    code, out, err = atrous("train", "voc2012", *TINY_NETWORK, *SHORT, "--out", "run")
    assert code == 0, err
    code, out, err = atrous("evaluate", "run", "voc2012", "--json")
    assert code == 0, err
    assert '"images": 1' in out
    assert server.ranges == [None]
