import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import atrous.tensors
from atrous.checkpoint import HEADER_KEY, LoadedModel, load_model, save_model
from atrous.errors import OutputError, WeightsError
from atrous.labels import VOC, Labels
from atrous.models import NETWORKS, DeepLab, build
from atrous.preprocessing import Preprocessing
from atrous.tensors import read_tensors, write_tensors
from atrous.version import __version__
from tiny_network import tiny

LABELS = Labels(names=("sky", "road", "Straße <b>"), palette=((1, 2, 3), (4, 5, 6), (7, 8, 255)), ignore_index=254)
PREPROCESSING = Preprocessing(mean=(0.1, 0.2, 1 / 3), std=(0.3, 0.2, 0.1), value_range=(0, 255))
SCORES = {
    "miou": np.float32(0.5),
    "iou": {"sky": 0.75, "road": None, "bad": float("nan")},
    "data": "sha256:12",
    "engine": "torch",
    "precision": "float32",
}


@pytest.fixture(autouse=True)
def _tiny_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "deeplabv3_tiny", tiny)


def trained(network: DeepLab) -> DeepLab:
    """Statistics and norms as after training."""
    torch.manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif tensor.ndim == 0:
            tensor.fill_(1000)
    return network


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    network = trained(tiny())
    save_model(path, network, labels=LABELS, preprocessing=PREPROCESSING, scores=SCORES, licence="CC0-1.0")
    return path


def rewritten(path: Path, change: Any) -> None:
    """Give the file another header, or apply `change` to its header and store the right digest, as a hostile file has."""
    tensors, metadata = read_tensors(path)
    if isinstance(change, str):
        save_file(tensors, path, metadata={HEADER_KEY: change})
        return
    document = json.loads(metadata[HEADER_KEY])
    change(document)
    write_tensors(path, tensors, key=HEADER_KEY, document=document)


def same(a: LoadedModel, b: LoadedModel) -> bool:
    ours, theirs = a.network.state_dict(), b.network.state_dict()
    return (
        (a.labels, a.preprocessing, a.metadata) == (b.labels, b.preprocessing, b.metadata)
        and list(ours) == list(theirs)
        and all(torch.equal(ours[key], theirs[key]) for key in ours)
    )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("deeplabv3_mobilenet_v2", {"auxiliary": True, "atrous_rates": (), "in_channels": 4}),
        ("deeplabv3plus_mobilenet_v3_large", {"output_stride": 8, "separable": True, "image_pooling": False}),
        ("deeplabv3plus_resnet18", {"atrous_rates": [3, 5], "aspp_channels": 32}),
    ],
)
def test_a_loaded_model_gives_bit_equal_logits(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    bands = settings.get("in_channels", 3)
    network = trained(build(name, num_classes=3, **settings)).eval()
    preprocessing = Preprocessing(bands=bands, mean=(0.5,) * bands, std=(0.25,) * bands)
    path = tmp_path / "model.safetensors"
    save_model(path, network.to(memory_format=torch.channels_last), labels=LABELS, preprocessing=preprocessing)
    before = torch.random.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not loaded.network.training
    assert loaded.network.settings == network.settings
    assert loaded.preprocessing == preprocessing
    image = torch.randn(1, bands, 33, 47)
    with torch.inference_mode():
        logits = loaded.network(image)
        assert logits.isfinite().all()
        assert torch.equal(logits, plain(network)(image))


def plain(network: DeepLab) -> DeepLab:
    """The network in the ordinary memory order: convolutions in another order may round differently."""
    return network.to(memory_format=torch.contiguous_format)


def test_everything_that_prediction_needs_comes_back(model_file: Path) -> None:
    loaded = load_model(model_file)
    assert loaded.labels == LABELS
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.metadata == {
        "format_version": 1,
        "atrous_version": __version__,
        "network": {"name": "deeplabv3_tiny", "settings": {**tiny().settings, "atrous_rates": [2]}},
        "scores": {**SCORES, "miou": 0.5, "iou": {"sky": 0.75, "road": None, "bad": None}},
        "licence": "CC0-1.0",
    }


def test_saving_again_writes_the_same_bytes(model_file: Path, tmp_path: Path) -> None:
    loaded = load_model(model_file)
    again = tmp_path / "again.safetensors"
    facts = {key: loaded.metadata[key] for key in ("scores", "licence")}
    save_model(again, loaded.network, labels=loaded.labels, preprocessing=loaded.preprocessing, **facts)
    assert again.read_bytes() == model_file.read_bytes()


def test_half_precision_is_loaded_as_single(tmp_path: Path) -> None:
    network = trained(tiny()).half()
    save_model(tmp_path / "half.safetensors", network, labels=LABELS, preprocessing=PREPROCESSING)
    state = load_model(tmp_path / "half.safetensors").network.state_dict()
    for key, tensor in network.state_dict().items():
        assert torch.equal(state[key], tensor.float() if tensor.is_floating_point() else tensor)


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 21, 1), lambda: DeepLab(tiny().backbone, tiny().classifier)])
def test_a_network_that_atrous_did_not_build_is_refused(make: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"atrous did not build it.*Expected a network from atrous\.models"):
        save_model(tmp_path / "x.safetensors", make(), labels=VOC, preprocessing=Preprocessing())
    assert not list(tmp_path.iterdir())


def test_labels_and_bands_must_be_the_networks(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has 3 classes and 3 bands, but there are 21 class names"):
        save_model(tmp_path / "x.safetensors", tiny(), labels=VOC, preprocessing=Preprocessing())
    grey = Preprocessing(bands=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(WeightsError, match="for 1 bands"):
        save_model(tmp_path / "x.safetensors", tiny(), labels=LABELS, preprocessing=grey)


def test_nan_is_never_written_and_the_old_file_stays(model_file: Path) -> None:
    before = model_file.read_bytes()
    network = tiny()
    network.backbone.layer1[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"1 tensors hold NaN or infinity: backbone\.layer1\.0\.weight"):
        save_model(model_file, network, labels=LABELS, preprocessing=PREPROCESSING)
    assert model_file.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_no_other(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = model_file.read_bytes()

    def fill_the_disk(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atrous.tensors, "save_file", fill_the_disk)
    with pytest.raises(OutputError, match="No space left"):
        save_model(model_file, tiny(), labels=LABELS, preprocessing=PREPROCESSING)
    assert model_file.read_bytes() == before
    assert list(model_file.parent.iterdir()) == [model_file]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        save_model(tmp_path / "no" / "x.safetensors", tiny(), labels=LABELS, preprocessing=PREPROCESSING)


def test_what_is_no_file_or_no_model_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    for path in (text, tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(WeightsError, match=r"cannot be read as a \.safetensors file"):
            load_model(path)
    save_file({"a": torch.ones(1)}, text)
    with pytest.raises(WeightsError, match=r"not what prediction needs: .*class names.*atrous train --weights"):
        load_model(text)


@pytest.mark.parametrize(
    ("part", "key"),
    [
        *[("network", key) for key in ("name", "settings")],
        *[("labels", key) for key in ("names", "palette", "ignore_index")],
        *[("preprocessing", key) for key in ("bands", "value_range", "mean", "std", "resize")],
        *[(None, key) for key in ("format_version", "atrous_version", "network", "labels", "preprocessing")],
    ],
)
def test_a_file_without_something_is_refused_and_told(part: str | None, key: str, model_file: Path) -> None:
    rewritten(model_file, lambda document: (document[part] if part else document).pop(key))
    with pytest.raises(WeightsError, match=rf"{f'{part}.' if part else ''}{key}: field required"):
        load_model(model_file)


@pytest.mark.parametrize("version", [0, 2, 10**9])
def test_another_format_version_is_refused(version: int, model_file: Path) -> None:
    rewritten(model_file, lambda document: document.update(format_version=version))
    with pytest.raises(WeightsError, match=rf"format version {version}\. Expected 1"):
        load_model(model_file)


def test_keys_of_later_versions_are_let_be(model_file: Path) -> None:
    before = load_model(model_file)
    rewritten(model_file, lambda document: document.update(colour="blue"))
    assert same(load_model(model_file), before)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["network"].update(name="unet"),
        lambda d: d["network"]["settings"].update(colour=1),
        lambda d: d["network"]["settings"].update(name="tiny"),
        lambda d: d["network"]["settings"].update(num_classes=4),
        lambda d: d["network"]["settings"].update(num_classes=10**40),
        lambda d: d["network"]["settings"].update(in_channels=1),
        lambda d: d["network"]["settings"].update(atrous_rates=[1] * 1_000_000),
        lambda d: d["network"]["settings"].update(atrous_rates=[1, 2]),
        lambda d: d["network"].update(name="deeplabv3_resnet18", settings={"num_classes": 3}),
        lambda d: d["network"].update(name="deeplabv3_resnet18", settings={"num_classes": "3"}),
        lambda d: d["labels"].update(names=["a", "b"]),
        lambda d: d["labels"].update(palette=[[0, 0, 0]]),
        lambda d: d["labels"].update(palette=[[0, 0, 256]] * 3),
        lambda d: d["labels"].update(ignore_index=1),
        lambda d: d["labels"].update(ignore_index=True),
        lambda d: d["preprocessing"].update(std=[1, 0, 1]),
        lambda d: d["preprocessing"].update(mean=[1, 1]),
        lambda d: d["preprocessing"].update(resize="520"),
        lambda d: d["preprocessing"].update(value_range=[1, 0]),
        lambda d: d["preprocessing"].update(bands=4),
        lambda d: d.update(scores=[1]),
        lambda d: d.update(format_version="1"),
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"format_version": 1' + "0" * 5000 + "}",
        '{"format_version": 1, "labels": NaN}',
        "\ud800".encode("utf-8", "replace").decode(),
    ],
)
def test_a_wrong_header_is_one_kind_of_error(change: object, model_file: Path) -> None:
    rewritten(model_file, change)
    with pytest.raises(WeightsError, match=r"Expected .*\. [A-Z]"):
        load_model(model_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("classifier.4.bias"), r"1 missing \(classifier\.4\.bias\)"),
        (lambda t: t.update(more=torch.ones(1)), r"1 unexpected \(more\)"),
        (
            lambda t: t.update({"classifier.4.bias": torch.ones(4)}),
            r"classifier\.4\.bias float32\[4\] for float32\[3\]",
        ),
        (lambda t: t.update({"classifier.4.bias": torch.ones(3).int()}), r"int32\[3\] for float32\[3\]"),
        (lambda t: t.update({"classifier.4.bias": torch.ones(3) * float("inf")}), r"1 with NaN or infinity"),
        (lambda t: [t.pop(name) for name in list(t)[5:]], r"missing \(.* and \d\d more\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: Any, message: str, model_file: Path) -> None:
    tensors, metadata = read_tensors(model_file)
    change(tensors)
    write_tensors(model_file, tensors, key=HEADER_KEY, document=json.loads(metadata[HEADER_KEY]))
    with pytest.raises(WeightsError, match=message):
        load_model(model_file)


def mutants(content: bytes, count: int) -> Iterator[bytes]:
    """Bytes changed, inserted, removed, swapped; truncations."""
    chance = random.Random(1)
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(chance.choice([1, 1, 2, 8])):
            # Half of the places are in the header, which is a small part of the file.
            place = chance.randrange(len(mutant) if chance.random() < 0.5 else min(len(mutant), 1800))
            match chance.randrange(5):
                case 0:
                    mutant[place] ^= 1 << chance.randrange(8)
                case 1:
                    mutant[place] = chance.randrange(256)
                case 2:
                    mutant[place:place] = chance.randbytes(3)
                case 3:
                    del mutant[place : place + chance.randrange(1, 9)]
                case _:
                    mutant = mutant[: place + 1] if chance.random() < 0.2 else mutant
        yield bytes(mutant)


def test_a_damaged_file_is_refused_or_still_the_same_model(model_file: Path) -> None:
    original = load_model(model_file)
    content = model_file.read_bytes()
    refused = 0
    for mutant in mutants(content, 400):
        model_file.write_bytes(mutant)
        try:
            loaded = load_model(model_file)
        except WeightsError:
            refused += 1
        else:
            assert same(loaded, original)
    assert refused > 300


def leaves(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all values in a JSON document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


STRANGE = [None, True, -1, 0, 3, 1e300, 10**30, "", "x", [], [[]], {}, {"a": 1}, [1, 2, 3], "\u0000", float("nan")]


def test_a_strange_value_anywhere_in_the_header_is_refused_or_harmless(model_file: Path) -> None:
    tensors, metadata = read_tensors(model_file)
    document = json.loads(metadata[HEADER_KEY])
    chance = random.Random(2)
    refused = 0
    places = list(leaves(document))
    for place in places:
        for value in chance.sample(STRANGE, 6):
            mutant = copy.deepcopy(document)
            parent = mutant
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = value
            mutant.pop("sha256", None)
            save_file(tensors, model_file, metadata={HEADER_KEY: json.dumps(mutant)})
            try:
                load_model(model_file)
            except WeightsError:
                refused += 1
    assert refused > len(places)
