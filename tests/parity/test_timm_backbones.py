"""DeepLab over backbones of timm, and our Xception-65 against timm's, which is a port of the paper's."""

import importlib
from pathlib import Path

import pytest
import torch
import torchvision_reference  # noqa: F401 - timm imports torchvision, which this makes possible
from torch import Tensor, nn

from atrous.checkpoint import load_model, save_model
from atrous.errors import ConfigError, MissingExtraError
from atrous.labels import Labels
from atrous.models import DeepLab, build, count_multiply_adds
from atrous.models.xception import xception65
from atrous.preprocessing import Preprocessing

timm = pytest.importorskip(
    "timm", reason="timm is not installed, so its backbones are not tested: pip install --no-deps timm"
)

BACKBONES = ["resnet18", "efficientnet_b0", "mobilenetv3_small_050", "regnety_002", "convnext_atto", "xception41"]
# What gives the features of stride 32 exactly: no weights from the map's mean, and padding that does not depend on size.
EXACT = ["resnet18", "mobilenetv2_050", "regnetx_002", "xception41"]


def on_meta(name: str, **settings: object) -> DeepLab:
    with torch.device("meta"):
        return build(name, **settings)


def with_statistics(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.0)
    return module.eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_strides_and_stem(name: str) -> None:
    for output_stride in (32, 16, 8):
        network = on_meta(f"deeplabv3plus_timm/{name}", num_classes=3, output_stride=output_stride, in_channels=4)
        image = torch.empty(1, 4, 128, 96, device="meta")
        assert network.eval()(image).shape == (1, 3, 128, 96)
        maps, backbone = network.features(image), network.backbone
        assert maps.low_level.shape == (1, backbone.low_level_channels, 32, 24)
        assert maps.high_level.shape == (1, backbone.high_level_channels, 128 // output_stride, 96 // output_stride)
        assert maps.auxiliary.shape[1] == backbone.auxiliary_channels
        assert network.settings["output_stride"] == output_stride
        assert count_multiply_adds(network, (128, 96)) > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_the_stem_is_all_that_comes_before_the_low_level_features(name: str) -> None:
    torch.manual_seed(1)
    network = build(f"deeplabv3_timm/{name}", num_classes=2, output_stride=32).train()
    network.features(torch.randn(2, 3, 64, 64)).low_level.sum().backward()
    reached = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    inside = {id(parameter) for module in network.backbone.stem() for parameter in module.parameters()}
    stem = {name for name, parameter in network.named_parameters() if id(parameter) in inside}
    # Xception's low-level features are taken inside a block, whose shortcut runs beside them.
    assert {parameter for parameter in stem if ".blocks_1.shortcut." not in parameter} == reached


@pytest.mark.parametrize("name", EXACT)
def test_stages_part_the_parameters(name: str) -> None:
    backbone = on_meta(f"deeplabv3_timm/{name}").backbone
    own = [p for modules in backbone.stages().values() for module in modules for p in module.parameters()]
    assert len(own) == len({id(p) for p in own}) == len(list(backbone.parameters()))
    assert len(backbone.stages()) >= 4


@pytest.mark.parametrize("name", EXACT)
def test_denser_logits_contain_the_sparser(name: str) -> None:
    torch.manual_seed(2)
    settings = {"num_classes": 2, "image_pooling": False, "extra_conv": False}
    trained = with_statistics(build(f"deeplabv3_timm/{name}", **settings))
    image = torch.randn(1, 3, 97, 98)
    with torch.inference_mode():
        maps: dict[int, Tensor] = {s: trained.with_output_stride(s).coarse_logits(image) for s in (32, 16, 8)}
    for stride in (16, 8):
        step = 32 // stride
        tolerance = 1e-4 * maps[32].abs().max().item()
        torch.testing.assert_close(maps[stride][..., ::step, ::step], maps[32], rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_frozen_norm(name: str) -> None:
    torch.manual_seed(3)
    network = build(f"deeplabv3_timm/{name}", num_classes=2, norm="frozen")
    before = {key: value.clone() for key, value in network.named_buffers()}
    network.train()(torch.randn(1, 3, 64, 64)).sum().backward()
    assert len(before) > 50
    assert all(torch.equal(value, before[key]) for key, value in network.named_buffers())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_model_file_keeps_the_name(tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = build("deeplabv3plus_timm/mobilenetv3_small_050", num_classes=2).eval()
    labels = Labels(names=("a", "b"), palette=((0, 0, 0), (9, 9, 9)))
    save_model(tmp_path / "m.safetensors", network, labels=labels, preprocessing=Preprocessing())
    loaded = load_model(tmp_path / "m.safetensors").network
    assert loaded.name == "deeplabv3plus_timm/mobilenetv3_small_050"
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("resnet81", {}, r"no architecture 'resnet81'.*resnet18"),
        ("resnet18.a1_in1k", {}, "no architecture"),
        ("hf-hub:someone/something", {}, "no architecture"),
        ("densenet121", {}, r"no feature maps at output stride 16.*Set output_stride=32"),
        ("vit_tiny_patch16_224", {"output_stride": 32}, "at strides 16, 16"),
        ("swin_tiny_patch4_window7_224", {"output_stride": 32}, "laid out NHWC"),
        ("vgg11", {"output_stride": 8}, "no feature maps at output stride 8"),
        ("resnet18", {"norm": "group"}, "keeps its own norms"),
        ("resnet18", {"multi_grid": (1, 2)}, "has no setting 'multi_grid'"),
    ],
)
def test_what_cannot_be_is_an_error(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        on_meta(f"deeplabv3_timm/{name}", **settings)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            "timm is not installed.*pip install .atrous.timm.",
        ),
        (ModuleNotFoundError("No module named 'x'", name="x"), "timm lacks the package x.*pip install .atrous.timm."),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            "cannot be imported.*nms.*pip install .atrous.timm.",
        ),
    ],
    ids=["absent", "incomplete", "another torchvision"],
)
def test_without_timm_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingExtraError, match=message):
        build("deeplabv3_timm/resnet18")


def test_our_xception_is_timms() -> None:
    """Every tensor in order of use, and the features: timm's weights are TensorFlow's."""
    torch.manual_seed(5)
    for output_stride in (16, 8):
        theirs = with_statistics(timm.create_model("xception65", features_only=True, output_stride=output_stride))
        ours = xception65(output_stride=output_stride).eval()
        state = ours.state_dict()
        theirs_in_order, ours_in_order = in_order_of_use(theirs), in_order_of_use(ours)
        assert len(theirs_in_order) == len(ours_in_order)
        for mine, other in zip(ours_in_order, theirs_in_order, strict=True):
            assert type(mine).__name__[:5] == type(other).__name__[:5]
            assert getattr(mine, "dilation", None) == getattr(other, "dilation", None)
            assert getattr(mine, "stride", None) == getattr(other, "stride", None)
            assert getattr(mine, "eps", None) == getattr(other, "eps", None)
            mine.load_state_dict(other.state_dict())
        image = torch.randn(1, 3, 97, 66)
        with torch.inference_mode():
            expected = theirs(image)[-1]
            actual = ours.features(image).high_level
        assert expected.std() > 0
        assert ((actual - expected).abs().max() / expected.abs().max()).item() < 1e-5
        assert state.keys() == ours.state_dict().keys()


def in_order_of_use(network: nn.Module) -> list[nn.Module]:
    """Convolutions and norms in the order in which an image meets them, but shortcuts sorted behind."""
    used: list[nn.Module] = []
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    handles = [layer.register_forward_hook(lambda layer, *_: used.append(layer)) for _, layer in layers]
    names = {id(layer): name for name, layer in layers}
    with torch.inference_mode():
        getattr(network, "features", network)(torch.zeros(1, 3, 33, 33))
    for handle in handles:
        handle.remove()
    return sorted(used, key=lambda layer: "shortcut" in names[id(layer)])
