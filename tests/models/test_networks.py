"""Every network, by name: shapes, training on one image, settings, parameter counts."""

import pytest
import torch
from torch import nn

import atrous.models
from atrous.errors import ConfigError
from atrous.models import NETWORKS, DeepLab, build, is_network
from atrous.models.backbone import Features
from fixed_networks import build_fixed, fixed_numbers

NAMES = sorted(NETWORKS)
# The cheapest networks of each family stand for it where a setting is tested.
CHEAP = ["deeplabv3_mobilenet_v2", "deeplabv3plus_mobilenet_v3_large", "deeplabv3_resnet18", "deeplabv3plus_resnet18"]


def on_meta(name: str, **settings: object) -> DeepLab:
    """The network without memory: only shapes are computed."""
    with torch.device("meta"):
        return build(name, **settings)


def logits_of(network: DeepLab, bands: int = 3, size: tuple[int, int] = (97, 65), count: int = 2) -> torch.Tensor:
    return network.eval()(torch.empty(count, bands, *size, device="meta"))


def test_there_are_fourteen_networks_by_their_own_names() -> None:
    assert len(NETWORKS) == 14
    for name, builder in NETWORKS.items():
        assert getattr(atrous.models, name) is builder


def test_the_public_names_are_there() -> None:
    names = atrous.models.__all__  # their order is ruff's to check
    assert len(names) == len(set(names)) == 7 + 14
    assert all(hasattr(atrous.models, name) for name in names)


@pytest.mark.parametrize(("output_stride", "size"), [(8, (97, 65)), (16, (64, 96)), (32, (33, 130))])
@pytest.mark.parametrize("name", NAMES)
def test_logits_have_the_images_size(name: str, output_stride: int, size: tuple[int, int]) -> None:
    network = on_meta(name, num_classes=4, output_stride=output_stride)
    given: list[Features] = []
    network.classifier.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    assert logits_of(network, size=size).shape == (2, 4, *size)
    (features,) = given
    for feature, stride in ((features.low_level, 4), (features.high_level, output_stride)):
        assert feature.shape[-2:] == tuple((length - 1) // stride + 1 for length in size)
    assert features.high_level.shape[1] == network.backbone.high_level_channels
    assert features.low_level.shape[1] == network.backbone.low_level_channels
    assert features.auxiliary.shape[1] == network.backbone.auxiliary_channels


@pytest.mark.parametrize("name", ["deeplabv3_resnet18", "deeplabv3plus_resnet18"])
@pytest.mark.parametrize(
    "settings",
    [
        {"atrous_rates": ()},
        {"atrous_rates": [5]},
        {"atrous_rates": (1, 2, 3, 4, 5)},
        {"separable": True},
        {"image_pooling": False},
        {"aspp_channels": 24},
        {"auxiliary": True},
        {"dropout": 0.0},
        {"multi_grid": [1, 2]},
        {"extra_blocks": 2},
        {"norm": "group"},
        {"norm": "frozen"},
    ],
    ids=str,
)
def test_settings_work_and_are_kept(name: str, settings: dict[str, object]) -> None:
    network = on_meta(name, num_classes=3, **settings)
    assert logits_of(network).shape == (2, 3, 97, 65)
    for key, value in settings.items():
        assert network.settings[key] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", CHEAP)
def test_name_and_settings_build_the_same_network(name: str) -> None:
    network = on_meta(name, num_classes=3, atrous_rates=[4], separable=True, auxiliary=True, in_channels=2)
    again = on_meta(str(network.name), **network.settings)
    assert again.settings == network.settings
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


@pytest.mark.parametrize("bands", [1, 4, 8])
@pytest.mark.parametrize("name", CHEAP)
def test_any_number_of_bands(name: str, bands: int) -> None:
    assert logits_of(on_meta(name, num_classes=2, in_channels=bands), bands).shape == (2, 2, 97, 65)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_convolution_reads_the_bands(name: str) -> None:
    network = on_meta(name, in_channels=5)
    assert next(network.parameters()).shape[1] == 5


@pytest.mark.parametrize("name", CHEAP)
def test_rates_become_dilations(name: str) -> None:
    network = on_meta(name, atrous_rates=(2, 7), separable="plus" in name)
    aspp = network.classifier[0] if isinstance(network.classifier, nn.Sequential) else network.classifier.aspp
    dilations = {
        layer.dilation[0] for branch in aspp.convs for layer in branch.modules() if isinstance(layer, nn.Conv2d)
    }
    assert dilations == {1, 2, 7}


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18)), (32, (3, 6, 9))], ids=["8", "16", "32"]
)
def test_the_papers_rates_follow_the_output_stride(output_stride: int, rates: tuple[int, ...]) -> None:
    for name in (*CHEAP, "deeplabv3_mobilenet_v3_large"):
        expected = tuple(2 * rate for rate in rates) if name == "deeplabv3_mobilenet_v3_large" else rates
        assert on_meta(name, output_stride=output_stride).settings["atrous_rates"] == expected


@pytest.mark.parametrize("name", NAMES)
def test_one_image_trains(name: str) -> None:
    """Image pooling has one value per channel then, which plain batch norm refuses."""
    network = build_fixed(name, num_classes=3, auxiliary=True, output_stride=32).train()
    logits, auxiliary = network.forward_with_auxiliary(fixed_numbers((1, 3, 65, 33), 1))
    assert logits.shape == (1, 3, 65, 33)
    assert auxiliary is not None
    assert auxiliary.shape == logits.shape
    (logits.square().mean() + auxiliary.square().mean()).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_a_single_value_leaves_the_running_statistics_alone() -> None:
    network = build("deeplabv3_mobilenet_v2", num_classes=2, output_stride=32).train()
    norm = network.classifier[0].convs[-1][2]
    before = [tensor.clone() for tensor in norm.state_dict().values()]
    network(torch.randn(1, 3, 33, 33))
    assert all(torch.equal(a, b) for a, b in zip(before, norm.state_dict().values(), strict=True))
    network(torch.randn(2, 3, 33, 33))
    assert not all(torch.equal(a, b) for a, b in zip(before, norm.state_dict().values(), strict=True))


def test_without_an_auxiliary_head_there_are_no_auxiliary_logits() -> None:
    network = on_meta("deeplabv3_mobilenet_v2")
    _, auxiliary = network.forward_with_auxiliary(torch.empty(2, 3, 33, 33, device="meta"))
    assert auxiliary is None
    assert not any(key.startswith("aux") for key in network.state_dict())


# torchvision's published figures: deeplab.md's table of COCO_WITH_VOC_LABELS_V1.
@pytest.mark.parametrize(
    ("name", "with_auxiliary", "without"),
    [
        ("deeplabv3_resnet50", 42_004_074, 39_638_869),
        ("deeplabv3_resnet101", 60_996_202, 58_630_997),
        ("deeplabv3_mobilenet_v3_large", 11_029_328, 11_025_477),
    ],
)
def test_parameter_counts(name: str, with_auxiliary: int, without: int) -> None:
    for auxiliary, count in ((True, with_auxiliary), (False, without)):
        network = on_meta(name, num_classes=21, auxiliary=auxiliary)
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_setting_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} has no setting 'rates'.*output_stride"):
        build(name, rates=(1, 2))
    with pytest.raises(ConfigError, match="no setting 'rates'"):
        NETWORKS[name](3, rates=(1, 2))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("deeplabv3_resnet18", {"decoder_channels": 8}),
        ("deeplabv3plus_resnet18", {"extra_conv": True}),
        ("deeplabv3_resnet18", {"dilate_first_unit": True}),
        ("deeplabv3_mobilenet_v2", {"multi_grid": (1, 2, 4)}),
        ("deeplabv3plus_xception65", {"extra_blocks": 1}),
        ("deeplabv3_resnet18", {"name": "x"}),
    ],
)
def test_a_setting_that_would_be_ignored_is_an_error(name: str, setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="has no setting"):
        build(name, **setting)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_classes", 0),
        ("num_classes", "21"),
        ("output_stride", 4),
        ("output_stride", 16.0),
        ("output_stride", [16]),
        ("atrous_rates", "6"),
        ("atrous_rates", b"6"),
        ("atrous_rates", (0,)),
        ("atrous_rates", (1.5,)),
        ("atrous_rates", 6),
        ("aspp_channels", -1),
        ("aspp_channels", True),
        ("separable", "yes"),
        ("image_pooling", 1),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("in_channels", None),
        ("norm", "layer"),
        ("norm", None),
    ],
)
@pytest.mark.parametrize("name", ["deeplabv3_mobilenet_v3_large", "deeplabv3plus_resnet18"])
def test_a_wrong_value_is_an_error_that_says_what_is_expected(name: str, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: {setting} is .*It must be "):
        build(name, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("multi_grid", (1, 2, 4)),  # layer4 of ResNet-18 has two units
        ("multi_grid", (1, 0)),
        ("multi_grid", None),
        ("multi_grid", 2),
        ("extra_blocks", 4),
        ("extra_blocks", -1),
        ("extra_blocks", True),
        ("extra_blocks", 0.0),
    ],
)
def test_a_wrong_value_of_a_resnets_setting_is_an_error(setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"deeplabv3_resnet18: {setting} is .*It must be "):
        build("deeplabv3_resnet18", **{setting: value})


@pytest.mark.parametrize("value", [4, 0, "16", None])
def test_a_wrong_rule_for_first_units_is_an_error(value: object) -> None:
    with pytest.raises(ConfigError, match=r"dilate_first_unit is .*It must be True, False, or"):
        build("deeplabv3plus_mobilenet_v3_large", dilate_first_unit=value)


def test_an_unknown_network_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"no network 'unet'.*deeplabv3plus_resnet50.*atrous models"):
        build("unet")
    for name in ("deeplabv3_timm/", "timm/resnet18", "deeplabv4_timm/resnet18", ""):
        assert not is_network(name)
        with pytest.raises(ConfigError, match="There is no network"):
            build(name)
    assert is_network("deeplabv3plus_timm/resnet18")
