"""Output stride changed after training: the same weights give the same answers, at more places."""

from pathlib import Path

import pytest
import torch
from torch import nn

from atrous.checkpoint import load_model, save_model
from atrous.errors import ConfigError
from atrous.labels import Labels
from atrous.models import NETWORKS, DeepLab, build
from atrous.models.heads import DeepLabV3Head
from atrous.models.mobilenet import SqueezeExcite
from atrous.preprocessing import Preprocessing
from fixed_networks import build_fixed, fixed_numbers

SIZE = (97, 98)
# What does not depend on places alone is left out: the image's mean is another on a finer map, and the 3x3 convolution
# before torchvision's logits has no rate.
PLACEWISE = {"image_pooling": False, "extra_conv": False}
CASES = [
    *((name, PLACEWISE) for name in NETWORKS if name.startswith("deeplabv3_")),
    ("deeplabv3_resnet18", {**PLACEWISE, "multi_grid": (1, 2), "extra_blocks": 1, "atrous_rates": (4,)}),
    ("deeplabv3_resnet18", {**PLACEWISE, "separable": True, "norm": "frozen"}),
]


def placewise(network: DeepLab) -> DeepLab:
    for layer in network.modules():
        if isinstance(layer, SqueezeExcite):
            nn.init.zeros_(layer.fc2.weight)
    return network.eval()


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_denser_logits_contain_the_sparser(name: str, settings: dict[str, object]) -> None:
    # In float64: a hundred layers of fixed numbers enlarge float32's rounding, more on some processors than on others.
    trained = placewise(build_fixed(name, num_classes=2, output_stride=16, **settings)).double()
    image = fixed_numbers((1, 3, *SIZE), 3).double()
    with torch.inference_mode():
        maps = {stride: trained.with_output_stride(stride).coarse_logits(image) for stride in (32, 16, 8)}
        assert torch.equal(maps[16], trained.coarse_logits(image))
    for stride in (16, 8):
        step = 32 // stride
        assert maps[stride].shape[-1] == (SIZE[1] - 1) // stride + 1
        torch.testing.assert_close(
            maps[stride][..., ::step, ::step], maps[32], rtol=1e-9, atol=1e-9 * maps[32].std().item()
        )


def test_other_rates_would_not() -> None:
    """The test above can fail: with the backbone switched, but not ASPP's rates, the logits differ."""
    trained = build_fixed("deeplabv3_resnet18", num_classes=2, **PLACEWISE).eval()
    halfway = build("deeplabv3_resnet18", **{**trained.settings, "output_stride": 8}).eval()
    halfway.load_state_dict(trained.state_dict())
    image = fixed_numbers((1, 3, *SIZE), 3)
    with torch.inference_mode():
        sparse, dense = trained.coarse_logits(image), halfway.coarse_logits(image)[..., ::2, ::2]
    assert (sparse - dense).abs().max() > 0.1 * sparse.std()


@pytest.mark.parametrize(
    "name", ["deeplabv3plus_resnet18", "deeplabv3_mobilenet_v2", "deeplabv3_mobilenet_v3_large", "deeplabv3_xception65"]
)
def test_the_settings_are_those_of_the_new_stride(name: str) -> None:
    with torch.device("meta"):
        network = build(name, num_classes=3, output_stride=16, atrous_rates=(6, 18), auxiliary=True)
        for stride, rates in ((8, (12, 36)), (32, (3, 9)), (16, (6, 18))):
            other = network.with_output_stride(stride)
            assert other.settings["output_stride"] == other.backbone.output_stride == stride
            assert other.settings["atrous_rates"] == rates
            again = build(str(other.name), **other.settings)
            assert str(again) == str(other)  # with every stride, dilation and padding
        assert network.with_output_stride(8).with_output_stride(32).with_output_stride(16).settings == network.settings
        assert str(network.with_output_stride(8).with_output_stride(16)) == str(network)


def test_mobilenet_v3_keeps_the_stride_that_its_first_units_were_trained_at() -> None:
    with torch.device("meta"):
        network = build("deeplabv3_mobilenet_v3_large")
        assert network.settings["dilate_first_unit"] is True
        assert network.with_output_stride(8).settings["dilate_first_unit"] == 16
        # A network built for another stride takes the same weights, so it is the same network.
        assert str(build("deeplabv3_mobilenet_v3_large", output_stride=8)) == str(network.with_output_stride(8))


def test_the_result_is_a_copy_in_the_same_state() -> None:
    network = build_fixed("deeplabv3plus_resnet18", num_classes=2, auxiliary=True).double()
    network.train()
    network.backbone.layer1.eval()
    network.backbone.requires_grad_(False)
    other = network.with_output_stride(8)
    assert {p.dtype for p in other.parameters()} == {torch.float64}
    assert [m.training for m in other.modules()] == [m.training for m in network.modules()]
    assert [p.requires_grad for p in other.parameters()] == [p.requires_grad for p in network.parameters()]
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor.add_(1)
    for mine, theirs in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(mine + 1, theirs)


def test_the_result_saves_and_loads(tmp_path: Path) -> None:
    network = build_fixed("deeplabv3_mobilenet_v3_large", num_classes=2).eval().with_output_stride(8)
    path = tmp_path / "dense.safetensors"
    labels = Labels(names=("a", "b"), palette=((0, 0, 0), (9, 9, 9)))
    save_model(path, network, labels=labels, preprocessing=Preprocessing())
    loaded = load_model(path).network
    image = fixed_numbers((1, 3, 65, 65), 3)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))
    assert loaded.with_output_stride(16).settings["atrous_rates"] == (12, 24, 36)


@pytest.mark.parametrize("stride", [4, 64, 16.0, "8", None, True])
def test_another_stride_is_an_error(stride: object) -> None:
    with torch.device("meta"):
        network = build("deeplabv3_resnet18")
    with pytest.raises(ConfigError, match=r"deeplabv3_resnet18: output_stride is .*It must be 8, 16 or 32"):
        network.with_output_stride(stride)


def test_rates_that_are_not_whole_are_an_error() -> None:
    with torch.device("meta"):
        network = build("deeplabv3_resnet18", atrous_rates=(5, 6))
    with pytest.raises(ConfigError, match=r"rates 5, 6 at output stride 16.*would be 2\.5, 3; expected whole numbers"):
        network.with_output_stride(32)
    assert network.with_output_stride(8).settings["atrous_rates"] == (10, 12)


def test_a_network_put_together_by_hand_is_an_error() -> None:
    with torch.device("meta"):
        parts = build("deeplabv3_resnet18")
    assert isinstance(parts.classifier, DeepLabV3Head)
    with pytest.raises(ConfigError, match="put together by hand"):
        DeepLab(parts.backbone, parts.classifier).with_output_stride(8)
