"""VainF, jfzhang95 and MMSegmentation: an imported network gives the logits of the program's, rebuilt from its facts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rebuilt_networks import Jfzhang95, Mmseg, Vainf
from torch import nn

from atrous.errors import ConfigError, WeightsError
from atrous.importers import ADAPTERS, Choices, read_foreign
from random_weights import image_of, largest_difference, randomise

TOLERANCE = 1e-4
SIZE = (98, 129)  # even and odd; rate 6 is inside the map at stride 16

CASES: dict[str, tuple[str, Callable[[int], nn.Module]]] = {
    "deeplabv3_resnet50": ("vainf", lambda stride: Vainf("resnet50", stride, plus=False)),
    "vainf/deeplabv3plus_resnet50": ("vainf", lambda stride: Vainf("resnet50", stride, plus=True)),
    "vainf/deeplabv3_mobilenet_v2": ("vainf", lambda stride: Vainf("mobilenet_v2", stride, plus=False)),
    "vainf/deeplabv3plus_mobilenet_v2": ("vainf", lambda stride: Vainf("mobilenet_v2", stride, plus=True)),
    "jfzhang95/deeplabv3plus_resnet101": ("jfzhang95", lambda stride: Jfzhang95("resnet101", stride)),
    "jfzhang95/deeplabv3plus_mobilenet_v2": ("jfzhang95", lambda stride: Jfzhang95("mobilenet_v2", stride)),
    "mmseg/deeplabv3_resnet18": ("mmseg", lambda stride: Mmseg(18, stride, plus=False)),
    "mmseg/deeplabv3plus_resnet18": ("mmseg", lambda stride: Mmseg(18, stride, plus=True, deep_stem=False)),
    "mmseg/deeplabv3plus_resnet50": ("mmseg", lambda stride: Mmseg(50, stride, plus=True)),
}


def imported(theirs: nn.Module, source: str, output_stride: int) -> Any:
    adapter = ADAPTERS[source]
    state = theirs.state_dict()
    assert [name for name, other in ADAPTERS.items() if other.recognise(state)] == [source]
    return adapter.convert(state, Choices(output_stride=output_stride))


# The heavy backbones differ between the strides in what the light ones show too, but for jfzhang95's multi-grid.
BOTH_STRIDES = [(name, stride) for name in CASES for stride in (8, 16)]
LEFT_OUT = {("deeplabv3_resnet50", 8), ("vainf/deeplabv3plus_resnet50", 16), ("mmseg/deeplabv3plus_resnet50", 8)}


@pytest.mark.parametrize(("name", "output_stride"), [case for case in BOTH_STRIDES if case not in LEFT_OUT])
def test_the_logits_are_the_programs(name: str, output_stride: int) -> None:
    source, make = CASES[name]
    theirs = randomise(make(output_stride))
    ours = imported(theirs, source, output_stride).network
    assert ours.name == name
    assert ours.settings["output_stride"] == output_stride
    image = image_of(*SIZE)
    with torch.inference_mode():
        assert largest_difference(ours(image), theirs(image)) < TOLERANCE


@pytest.mark.parametrize("name", ["vainf/deeplabv3plus_mobilenet_v2", "jfzhang95/deeplabv3plus_mobilenet_v2"])
def test_the_comparison_can_fail(name: str) -> None:
    """The same tensors at the other stride, and in the usual MobileNetV2, are other networks."""
    source, make = CASES[name]
    theirs = randomise(make(16))
    image = image_of(*SIZE)
    ours = imported(theirs, source, 16).network
    for unit in ours.backbone.children():
        if hasattr(unit, "margin"):  # the padding goes where everybody else has it
            depthwise = next(conv for conv in unit.modules() if isinstance(conv, nn.Conv2d) and conv.groups > 1)
            depthwise.padding, unit.margin = depthwise.dilation, 0
    with torch.inference_mode():
        assert largest_difference(ours(image), theirs(image)) > 10 * TOLERANCE
        assert largest_difference(imported(theirs, source, 8).network(image), theirs(image)) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["vainf/deeplabv3plus_mobilenet_v2", "mmseg/deeplabv3plus_resnet50"])
def test_the_output_stride_can_be_switched_where_the_weights_allow_it(name: str) -> None:
    source, make = CASES[name]
    theirs = randomise(make(16))
    switched = imported(theirs, source, 16).network.with_output_stride(8)
    image = image_of(66, 97)
    with torch.inference_mode():
        assert torch.equal(switched(image), imported(theirs, source, 8).network(image))
    assert switched.name == name


@pytest.mark.parametrize("name", ["jfzhang95/deeplabv3plus_mobilenet_v2", "mmseg/deeplabv3_resnet18"])
def test_elsewhere_switching_is_refused(name: str) -> None:
    source, make = CASES[name]
    network = imported(make(16), source, 16).network
    assert network.with_output_stride(16).settings == network.settings
    with pytest.raises(ConfigError, match=r"works at output stride 16, and 8 was asked for"):
        network.with_output_stride(8)


def test_files_as_the_programs_write_them(tmp_path: Path) -> None:
    """VainF's `model_state`, jfzhang95's `state_dict`, `module.` of several GPUs; other entries are plain numbers."""
    vainf = randomise(Vainf("mobilenet_v2", 16, plus=False, classes=19)).state_dict()
    torch.save({"model_state": vainf, "cur_itrs": 3, "best_score": 0.7, "optimizer_state": {}}, tmp_path / "v.pth")
    result = read_foreign(tmp_path / "v.pth")
    assert result.network.name == "vainf/deeplabv3_mobilenet_v2"
    assert result.labels.num_classes == 19
    jfzhang95 = randomise(Jfzhang95("mobilenet_v2", 16)).state_dict()
    prefixed = {f"module.{name}": tensor for name, tensor in jfzhang95.items()}
    torch.save({"epoch": 1, "state_dict": prefixed, "best_pred": 0.7}, tmp_path / "j.pth")
    assert read_foreign(tmp_path / "j.pth", source="jfzhang95").network.name == "jfzhang95/deeplabv3plus_mobilenet_v2"


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["backbone.block1.rep.0.conv1.weight"], "its Xception"),
        (["backbone.layer0.0.weight"], "its DRN"),
        (["backbone.layer1.0.conv1.weight"], "none that is known"),
    ],
)
def test_backbones_that_are_not_there_are_named(names: list[str], what: str) -> None:
    state = {name: torch.zeros(1) for name in ("aspp.aspp1.atrous_conv.weight", "decoder.last_conv.0.weight")}
    state |= {"decoder.last_conv.8.weight": torch.zeros(21, 256, 1, 1), **{name: torch.zeros(1) for name in names}}
    with pytest.raises(WeightsError, match=what):
        ADAPTERS["jfzhang95"].convert(state, Choices())


@pytest.mark.parametrize("name", ["vainf/deeplabv3_mobilenet_v2", "mmseg/deeplabv3_resnet18"])
def test_one_tensor_more_or_less_is_refused(name: str) -> None:
    source, make = CASES[name]
    state = make(16).state_dict()
    with pytest.raises(WeightsError, match=r"1 tensors of .* not understood: extra\.weight"):
        ADAPTERS[source].convert({**state, "extra.weight": torch.zeros(1)}, Choices())
    missing = next(key for key in state if "convs.2" in key or "aspp_modules.2" in key)
    with pytest.raises(WeightsError, match="1 missing"):
        ADAPTERS[source].convert({key: tensor for key, tensor in state.items() if key != missing}, Choices())
