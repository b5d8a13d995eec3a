import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from atrous.checkpoint import save_model
from atrous.errors import WeightsError
from atrous.labels import Labels
from atrous.models import DeepLab, build
from atrous.preprocessing import Preprocessing
from atrous.weights import adapt_bands, load_weights, read_state_dict
from tiny_network import tiny

SHARED = Path(__file__).resolve().parents[1] / ".." / "shared" / "weights"
State = dict[str, Tensor]


def randomised(module: nn.Module, seed: int = 1) -> State:
    """Its state with other numbers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else torch.tensor(7)
        for name, tensor in module.state_dict().items()
    }


def saved(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def equal(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- files ---


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}}},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"model_state": {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {f"module._orig_mod.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": {"ema": {name: nn.Parameter(tensor) for name, tensor in state.items()}}},
    ],
)
def test_tensors_are_found_in_what_others_write(wrap: Callable[[State], Any], zipped: bool, tmp_path: Path) -> None:
    state = {"a.weight": torch.randn(2, 3), "b": torch.ones(1)}
    path = tmp_path / "x.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    read = read_state_dict(path)
    assert equal(read, state)
    assert all(type(tensor) is Tensor and not tensor.requires_grad for tensor in read.values())


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x"])
def test_safetensors_under_any_name(name: str, tmp_path: Path) -> None:
    state = {"a": torch.arange(3.0)}
    save_file(state, tmp_path / name, metadata={"format": "pt"})
    assert equal(read_state_dict(tmp_path / name), state)


def test_which_of_several_entries_was_read_is_told(tmp_path: Path) -> None:
    network = tiny()
    path = saved({"ema": network.state_dict(), "model": randomised(network)}, tmp_path / "x.pth")
    assert load_weights(network, path).summary.endswith("Its entry 'model' was read (ema not).")


class Payload:
    """Creates a file when it is unpickled as pickle wants it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"state_dict": {"a": torch.ones(1)}, "x": p}, lambda p: [p]])
def test_a_pickle_that_wants_code_is_refused_and_not_run(
    wrap: Callable[[Any], Any], zipped: bool, tmp_path: Path
) -> None:
    path, canary = tmp_path / "x.pth", tmp_path / "canary"
    torch.save(wrap(Payload(canary)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"code would have to be run \(\w+\.mkdir\)\. It was not run\. Expected"):
        read_state_dict(path)
    assert not canary.exists()


def test_a_harmless_object_is_not_built_either(tmp_path: Path) -> None:
    path = saved({"model": {"a": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"\(argparse\.Namespace\)\. It was not run.*save only its state_dict"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": []},
            "holds no weights .entries state, param_groups",
        ),
        ({}, "holds no weights"),
        ([torch.ones(1)], "holds no weights .list"),
        ({"state_dict": {}}, "holds no weights"),
        ({"a": torch.ones(1), "epoch": 3}, "holds other things among its tensors: epoch"),
        ({1: torch.ones(1)}, "holds other things among its tensors: 1"),
        ({"a": torch.tensor([1.0, float("nan")])}, "NaN or infinity in 1 tensors: a"),
        ({"a": torch.tensor(float("-inf"), dtype=torch.bfloat16)}, "NaN or infinity"),
        ({"a": torch.eye(2).to_sparse()}, "sparse, quantised or expanded tensors: a"),
        ({"a": torch.ones(1).expand(10**6, 10**6)}, "sparse, quantised or expanded tensors: a"),
        ({"a": torch.ones(2, device="meta")}, "sparse, quantised or expanded tensors: a"),
    ],
)
def test_what_is_no_weights_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        read_state_dict(saved(content, tmp_path / "x.pth"))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello, this is no checkpoint")
    (tmp_path / "empty.pth").touch()
    for name in ("missing.pth", ".", "text.pth", "empty.pth"):
        with pytest.raises(WeightsError, match=r"cannot be read.*Expected .*Check the path"):
            read_state_dict(tmp_path / name)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_is_one_kind_of_error(form: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    state = {"a.weight": torch.randn(3, 4), "a.bias": torch.zeros(3), "n": torch.tensor(3)}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    chance = random.Random(3)
    refused = 0
    for _ in range(250):
        mutant = bytearray(content)
        for _ in range(chance.choice([1, 2, 6])):
            place = chance.randrange(len(mutant)) if mutant else 0
            match chance.randrange(4):
                case 0:
                    mutant[place : place + 1] = chance.randbytes(1)
                case 1:
                    mutant[place:place] = chance.randbytes(2)
                case 2:
                    del mutant[place : place + 3]
                case _:
                    mutant = mutant if chance.random() < 0.7 else mutant[: place + 1]
        path.write_bytes(mutant)
        try:
            read_state_dict(path)
        except WeightsError:
            refused += 1
    assert refused > 50


# --- backbones ---


def as_torchvision(name: str, network: DeepLab) -> State:
    """A classification checkpoint of torchvision for the backbone, classifier included."""
    state = randomised(network.backbone)
    if "resnet" in name:
        return {**state, "fc.weight": torch.ones(10, 3), "fc.bias": torch.ones(10)}
    extra = {"classifier.1.weight": torch.ones(10, 3), "classifier.1.bias": torch.ones(10)}
    if name.endswith("v2"):
        extra |= {"features.18.0.weight": torch.ones(1280, 320, 1, 1), "features.18.1.weight": torch.ones(1280)}
    return {f"features.{name}": tensor for name, tensor in state.items()} | extra


@pytest.mark.parametrize(
    ("name", "dropped"),
    [
        ("deeplabv3_resnet18", ("fc",)),
        ("deeplabv3plus_mobilenet_v2", ("classifier", "features.18")),
        ("deeplabv3_mobilenet_v3_large", ("classifier",)),
    ],
)
def test_a_classification_checkpoint_fills_the_backbone(name: str, dropped: tuple[str, ...], tmp_path: Path) -> None:
    network = build(name, num_classes=4)
    head = {key: tensor.clone() for key, tensor in network.classifier.state_dict().items()}
    loaded = load_weights(network, saved(as_torchvision(name, network), tmp_path / "x.pth"))
    assert equal(dict(network.backbone.state_dict()), randomised(network.backbone))
    assert equal(dict(network.classifier.state_dict()), head)
    assert (loaded.kind, loaded.restarted, loaded.dropped) == ("backbone", ("classifier",), dropped)
    assert loaded.summary.startswith("x.pth holds a backbone: its ")
    assert all(part in loaded.summary for part in dropped)


def test_torchvisions_own_keys() -> None:
    """The names above are torchvision's, as the real file shows."""
    path = SHARED / "mobilenet_v2_imagenet.pth"
    if not path.exists():
        pytest.skip("the development weights are not here: shared/weights/mobilenet_v2_imagenet.pth")
    network = build("deeplabv3plus_mobilenet_v2", num_classes=4)
    loaded = load_weights(network, path)
    assert (loaded.kind, loaded.dropped) == ("backbone", ("features.18",))
    original = torch.load(path, weights_only=True)
    assert torch.equal(
        network.backbone.state_dict()["17.conv.3.running_var"], original["features.17.conv.3.running_var"]
    )
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 3, 33, 33)).isfinite().all()


def test_a_backbone_under_its_own_prefix(tmp_path: Path) -> None:
    network = tiny(auxiliary=True)
    state = {f"backbone.{name}": tensor for name, tensor in randomised(network.backbone).items()}
    loaded = load_weights(network, saved(state, tmp_path / "x.pth"))
    assert equal(dict(network.backbone.state_dict()), randomised(network.backbone))
    assert (loaded.kind, loaded.restarted) == ("backbone", ("classifier", "aux_classifier"))


# --- whole networks ---


def test_a_whole_network_is_loaded_in_full(tmp_path: Path) -> None:
    network = tiny(auxiliary=True)
    loaded = load_weights(network, saved(randomised(network), tmp_path / "x.pth"))
    assert equal(dict(network.state_dict()), randomised(network))
    assert (loaded.kind, loaded.restarted, loaded.dropped) == ("network", (), ())
    assert loaded.summary == f"x.pth holds a network: {len(network.state_dict())} tensors were loaded."


def test_another_class_count_restarts_exactly_the_last_layers(tmp_path: Path) -> None:
    state = randomised(tiny(7, auxiliary=True))
    network = tiny(3, auxiliary=True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loaded = load_weights(network, saved(state, tmp_path / "x.pth"))
    last = ("classifier.4", "aux_classifier.4")
    assert loaded.restarted == last
    assert "classifier.4 starts anew, with 3 classes in place of 7" in loaded.summary
    for name, tensor in network.state_dict().items():
        expected = before if name.rpartition(".")[0] in last else state
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("name", ["deeplabv3plus_mobilenet_v2", "deeplabv3_mobilenet_v2"])
def test_the_last_layer_of_either_head_is_known(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        there, network = build(name, num_classes=7), build(name, num_classes=3)
    network = network.to_empty(device="cpu")
    loaded = load_weights(network, saved(randomised(there), tmp_path / "x.pth"))
    assert loaded.restarted == ("classifier.logits" if "plus" in name else "classifier.4",)


def test_an_auxiliary_head_in_the_file_alone_is_left_out(tmp_path: Path) -> None:
    state = randomised(tiny(auxiliary=True))
    network = tiny()
    loaded = load_weights(network, saved(state, tmp_path / "x.pth"))
    assert equal(dict(network.state_dict()), {k: v for k, v in state.items() if not k.startswith("aux")})
    assert (loaded.restarted, loaded.dropped) == ((), ("aux_classifier",))
    assert "aux_classifier was left out" in loaded.summary


def test_an_auxiliary_head_in_the_network_alone_starts_anew(tmp_path: Path) -> None:
    network = tiny(auxiliary=True)
    before = {name: tensor.clone() for name, tensor in network.aux_classifier.state_dict().items()}
    loaded = load_weights(network, saved(randomised(tiny()), tmp_path / "x.pth"))
    assert equal(dict(network.aux_classifier.state_dict()), before)
    assert (loaded.restarted, loaded.dropped) == (("aux_classifier",), ())
    assert "aux_classifier starts anew" in loaded.summary


def test_our_own_model_file_and_what_its_tensors_do_not_show(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    source = tiny(atrous_rates=(6,))
    source.load_state_dict(randomised(source))
    save_model(path, source, labels=Labels.numbered(3), preprocessing=Preprocessing())
    network = tiny(atrous_rates=(2,))
    loaded = load_weights(network, path)
    assert equal(dict(network.state_dict()), dict(source.state_dict()))
    assert "it was trained with atrous_rates (6,), this network has (2,)" in loaded.summary
    assert "trained with" not in load_weights(tiny(atrous_rates=(6,)), path).summary


def test_counters_may_be_missing(tmp_path: Path) -> None:
    network = tiny()
    state = {name: tensor for name, tensor in randomised(network).items() if "num_batches" not in name}
    assert load_weights(network, saved(state, tmp_path / "x.pth")).restarted == ()


def test_half_precision_becomes_the_networks(tmp_path: Path) -> None:
    network = tiny()
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in randomised(network).items()
    }
    load_weights(network, saved(state, tmp_path / "x.pth"))
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in network.state_dict().values())
    assert torch.equal(network.state_dict()["classifier.4.bias"], state["classifier.4.bias"].float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("classifier.1.0.weight", s.pop("classifier.4.bias")),
            r"missing \(classifier\.4\.bias\)|missing",
        ),
        (lambda s: s.update({"classifier.9.weight": torch.ones(1)}), r"1 unexpected \(classifier\.9\.weight\)"),
        (
            lambda s: s.update({"backbone.layer2.0.weight": torch.ones(4, 4, 1, 1)}),
            r"1 of another shape or type \(backbone\.layer2\.0\.weight float32\[4, 4, 1, 1\] for float32\[4, 4, 3, 3\]\)",
        ),
        (lambda s: s.update({"classifier.4.bias": torch.ones(3, dtype=torch.int8)}), r"int8\[3\] for float32\[3\]"),
        (
            lambda s: s.update({"classifier.4.weight": torch.ones(3, 5, 1, 1)}),
            r"\[3, 5, 1, 1\] for float32\[3, 4, 1, 1\]",
        ),
        (lambda s: s.update({"aux_classifier.0.weight": torch.ones(1)}), None),
        (lambda s: s.update({f"backbone.x{i}": torch.ones(1) for i in range(30)}), r"30 unexpected .* and 20 more\)"),
    ],
)
def test_any_other_mismatch_lists_what_does_not_fit(
    change: Callable[[State], None], message: str | None, tmp_path: Path
) -> None:
    network = tiny()
    state = randomised(network)
    change(state)
    path = saved(state, tmp_path / "x.pth")
    if message is None:
        assert load_weights(network, path).dropped == ("aux_classifier",)
        return
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(WeightsError, match=message):
        load_weights(network, path)
    assert equal(dict(network.state_dict()), before)


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_another_number_of_bands_is_adapted_and_told(bands: int, tmp_path: Path) -> None:
    state = randomised(tiny())
    network = tiny(in_channels=bands)
    path = saved(state, tmp_path / "x.pth")
    summary = load_weights(network, path).summary
    first = "backbone.layer1.0.weight"
    assert f"{first}, was made for 3 bands and adapted to {bands}" in summary
    assert torch.equal(network.state_dict()[first], adapt_bands(state[first], bands))
    backbone = {f"backbone.{name}": tensor for name, tensor in randomised(tiny().backbone).items()}
    assert f"adapted to {bands}" in load_weights(network, saved(backbone, path)).summary
    assert "adapted" not in load_weights(tiny(), path).summary


def test_a_first_convolution_of_another_width_is_still_an_error(tmp_path: Path) -> None:
    state = randomised(tiny())
    state["backbone.layer1.0.weight"] = torch.rand(5, 3, 3, 3)
    with pytest.raises(WeightsError, match=r"1 of another shape or type \(backbone\.layer1\.0\.weight"):
        load_weights(tiny(in_channels=4), saved(state, tmp_path / "x.pth"))


@pytest.mark.parametrize("own", [1, 3, 4])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8])
def test_equal_bands_give_what_they_gave_before(own: int, bands: int) -> None:
    weight = torch.rand(6, own, 3, 3, generator=torch.Generator().manual_seed(own))
    grey = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(bands))
    adapted = adapt_bands(weight, bands)
    assert adapted.shape == (6, bands, 3, 3)
    if bands % own == 0 or bands == 1:  # every weight is there equally often
        before = nn.functional.conv2d(grey.expand(-1, own, -1, -1), weight)
        after = nn.functional.conv2d(grey.expand(-1, bands, -1, -1), adapted)
        torch.testing.assert_close(after, before)
    for band in range(bands):
        expected = weight.sum(dim=1) if bands == 1 else weight[:, band % own] * own / bands
        torch.testing.assert_close(adapted[:, band], expected)


def test_no_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="0 bands"):
        adapt_bands(torch.rand(1, 3, 1, 1), 0)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("encoder.conv1.weight", "segmentation_models_pytorch"),
        ("decode_head.conv_seg.weight", "MMSegmentation"),
        ("x", ""),
    ],
)
def test_names_of_other_programs_are_an_error_that_names_them(name: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=rf"names that are not known: {name}.*{source}.*Expected a torchvision"):
        load_weights(tiny(), saved({name: torch.ones(1)}, tmp_path / "x.pth"))


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = saved({"\x1b[31m" + "x" * 10_000: torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError) as error:
        load_weights(tiny(), path)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 1500
