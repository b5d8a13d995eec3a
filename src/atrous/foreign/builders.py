"""The foreign networks by name. Where a fact is not in a paper, it is read from the program's own source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from atrous.foreign.backbones import (
    dilate_stages,
    multi_grid,
    pad_before_expansion,
    same_padding,
    set_rates,
    three_conv_stem,
    undilate_second_convs,
    with_last_conv,
)
from atrous.foreign.heads import (
    DecoderHead,
    bare_separable_conv,
    with_bare_separable_branches,
    with_wide_projection,
)
from atrous.foreign.network import ForeignDeepLab
from atrous.foreign.settings import complete
from atrous.models import deeplab
from atrous.models.aspp import ASPP
from atrous.models.backbone import Backbone
from atrous.models.heads import DeepLabV3Head
from atrous.models.layers import conv_norm_act, separable_conv_norm_act
from atrous.models.mobilenet import mobilenet_v2
from atrous.models.resnet import resnet18, resnet34, resnet50, resnet101

__all__ = ["FOREIGN_NETWORKS", "build"]

RESNETS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50, "resnet101": resnet101}
REDUCED = 48  # channels of the low-level features in the decoder (v3+ paper, table 1)
DEFAULTS: dict[str, object] = {
    "num_classes": 21,
    "output_stride": 16,
    "atrous_rates": (),
    "aspp_channels": 256,
    "dropout": 0.1,
    "in_channels": 3,
}


@dataclass(frozen=True)
class Builder:
    """Default settings, and what makes the network of complete ones."""

    defaults: Mapping[str, object]
    make: Callable[[dict[str, Any]], ForeignDeepLab]


def _tensorflow(settings: dict[str, Any]) -> ForeignDeepLab:
    """models/research/deeplab: image pooling and one 1x1 branch only; "SAME" padding; aligned corners."""
    backbone = mobilenet_v2(output_stride=settings["output_stride"], in_channels=settings["in_channels"])
    same_padding(backbone)
    for norm in backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-3  # slim's MobileNet; the head has 1e-5
    head = DeepLabV3Head(
        _aspp(backbone, settings), settings["num_classes"], channels=settings["aspp_channels"], extra_conv=False
    )
    return ForeignDeepLab(backbone, head, align_corners=True, switchable=True)


def _smp(version: str, backbone_name: str, settings: dict[str, Any]) -> ForeignDeepLab:
    """segmentation_models.pytorch: the stage's rate in first units, aligned corners, separable convolutions bare."""
    output_stride, channels = settings["output_stride"], settings["aspp_channels"]
    if backbone_name == "mobilenet_v2":
        backbone: Backbone = with_last_conv(output_stride, in_channels=settings["in_channels"])
        units = list(backbone.children())
        stages = ((16, nn.ModuleList(units[7:14])), (32, nn.ModuleList(units[14:])))
    else:
        backbone = RESNETS[backbone_name](output_stride=output_stride, in_channels=settings["in_channels"])
        stages = ((16, backbone.layer3), (32, backbone.layer4))
    dilate_stages(stages, output_stride=output_stride)
    aspp = _aspp(backbone, settings)
    if settings["separable"]:
        with_bare_separable_branches(aspp, backbone.high_level_channels, settings["atrous_rates"], channels)
    if version == "deeplabv3":
        head: nn.Module = DeepLabV3Head(aspp, settings["num_classes"], channels=channels)
    else:
        head = DecoderHead(
            nn.Sequential(aspp, bare_separable_conv(channels, channels)),
            conv_norm_act(backbone.low_level_channels, REDUCED),
            bare_separable_conv(channels + REDUCED, channels),
            nn.Conv2d(channels, settings["num_classes"], 1),
            align_corners=True,
        )
    return ForeignDeepLab(backbone, head, align_corners=True, switchable=False)


def _vainf(version: str, backbone_name: str, settings: dict[str, Any]) -> ForeignDeepLab:
    """VainF's DeepLabV3Plus-Pytorch: one 3x3 convolution in the decoder; MobileNetV2 pads before it expands."""
    output_stride, channels = settings["output_stride"], settings["aspp_channels"]
    if backbone_name == "mobilenet_v2":
        backbone = mobilenet_v2(output_stride=output_stride, in_channels=settings["in_channels"])
        first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
        first.padding = (0, 0)
        pad_before_expansion(backbone)
    else:
        backbone = RESNETS[backbone_name](output_stride=output_stride, in_channels=settings["in_channels"])
    aspp = _aspp(backbone, settings)
    if version == "deeplabv3":
        head: nn.Module = DeepLabV3Head(aspp, settings["num_classes"], channels=channels)
    else:
        head = DecoderHead(
            aspp,
            conv_norm_act(backbone.low_level_channels, REDUCED),
            conv_norm_act(channels + REDUCED, channels, kernel=3),
            nn.Conv2d(channels, settings["num_classes"], 1),
            align_corners=False,
        )
    return ForeignDeepLab(backbone, head, align_corners=False, switchable=True)


def _jfzhang95(backbone_name: str, settings: dict[str, Any]) -> ForeignDeepLab:
    """pytorch-deeplab-xception: aligned corners; multi-grid 1, 2, 4 in ResNet; MobileNetV2 pads before it expands."""
    output_stride, channels = settings["output_stride"], settings["aspp_channels"]
    if backbone_name == "mobilenet_v2":
        backbone = mobilenet_v2(output_stride=output_stride, in_channels=settings["in_channels"])
        units = list(backbone.children())
        # A stage that would have gone beyond the output stride hands its rate to the stages after it only.
        stages = {16: ((14, 1), (17, 2)), 8: ((7, 1), (11, 2), (14, 2), (17, 4)), 32: ()}[output_stride]
        for begin, rate in stages:
            for unit in units[begin:]:
                set_rates(unit, rate)
        pad_before_expansion(backbone)
    else:
        backbone = RESNETS[backbone_name](output_stride=output_stride, in_channels=settings["in_channels"])
        dilate_stages(((16, backbone.layer3),), output_stride=output_stride)
        multi_grid(backbone.layer4, (1, 2, 4), rate=32 // output_stride)
    decoder = nn.Sequential(
        *conv_norm_act(channels + REDUCED, channels, kernel=3),
        nn.Dropout(settings["dropout"]),
        *conv_norm_act(channels, channels, kernel=3),
        nn.Dropout(0.1),
    )
    head = DecoderHead(
        _aspp(backbone, settings),
        conv_norm_act(backbone.low_level_channels, REDUCED),
        decoder,
        nn.Conv2d(channels, settings["num_classes"], 1),
        align_corners=True,
    )
    return ForeignDeepLab(backbone, head, align_corners=True, switchable=False)


def _mmseg(version: str, backbone_name: str, settings: dict[str, Any]) -> ForeignDeepLab:
    """MMSegmentation: a 3x3 projection after ASPP, a stem of three convolutions, separable v3+."""
    channels, in_channels = settings["aspp_channels"], settings["in_channels"]
    backbone = RESNETS[backbone_name](output_stride=settings["output_stride"], in_channels=in_channels)
    undilate_second_convs(backbone)
    if settings["deep_stem"]:
        three_conv_stem(backbone, in_channels=in_channels)
    aspp = _aspp(backbone, settings, separable=version == "deeplabv3plus")
    with_wide_projection(aspp, channels, settings["dropout"] if version == "deeplabv3" else 0.0)
    if version == "deeplabv3":
        head: nn.Module = DeepLabV3Head(aspp, settings["num_classes"], channels=channels, extra_conv=False)
    else:
        reduced = settings["reduced_channels"]
        head = DecoderHead(
            aspp,
            conv_norm_act(backbone.low_level_channels, reduced),
            nn.Sequential(
                separable_conv_norm_act(channels + reduced, channels),
                separable_conv_norm_act(channels, channels),
                nn.Dropout(settings["dropout"]),
            ),
            nn.Conv2d(channels, settings["num_classes"], 1),
            align_corners=False,
        )
    return ForeignDeepLab(backbone, head, align_corners=False, switchable=backbone_name != "resnet18")


def _aspp(backbone: Backbone, settings: dict[str, Any], *, separable: bool = False) -> ASPP:
    return ASPP(
        backbone.high_level_channels,
        settings["atrous_rates"],
        channels=settings["aspp_channels"],
        separable=separable,
        dropout=settings["dropout"],
    )


def _all_builders() -> dict[str, Builder]:
    """Every name with its defaults, which are those of the program's own networks."""
    narrow, wide = {"atrous_rates": (6, 12, 18)}, {"atrous_rates": (12, 24, 36)}
    builders = {"tensorflow/deeplabv3_mobilenet_v2": Builder(DEFAULTS, _tensorflow)}
    for backbone in (*RESNETS, "mobilenet_v2"):
        v3 = {**DEFAULTS, **wide, "output_stride": 8, "dropout": 0.5, "separable": False}
        builders[f"smp/deeplabv3_{backbone}"] = Builder(v3, partial(_smp, "deeplabv3", backbone))
        v3plus = {**v3, "output_stride": 16, "separable": True}
        builders[f"smp/deeplabv3plus_{backbone}"] = Builder(v3plus, partial(_smp, "deeplabv3plus", backbone))
    for version, backbone in (
        ("deeplabv3", "mobilenet_v2"),
        ("deeplabv3plus", "mobilenet_v2"),
        ("deeplabv3plus", "resnet50"),
        ("deeplabv3plus", "resnet101"),
    ):
        make = partial(_vainf, version, backbone)
        builders[f"vainf/{version}_{backbone}"] = Builder({**DEFAULTS, **narrow}, make)
    for backbone in ("resnet101", "mobilenet_v2"):
        make = partial(_jfzhang95, backbone)
        builders[f"jfzhang95/deeplabv3plus_{backbone}"] = Builder({**DEFAULTS, **narrow, "dropout": 0.5}, make)
    for backbone in ("resnet18", "resnet50", "resnet101"):
        v3 = {**DEFAULTS, **wide, "output_stride": 8, "aspp_channels": 512, "deep_stem": True}
        builders[f"mmseg/deeplabv3_{backbone}"] = Builder(v3, partial(_mmseg, "deeplabv3", backbone))
        v3plus = {**v3, "reduced_channels": REDUCED}
        builders[f"mmseg/deeplabv3plus_{backbone}"] = Builder(v3plus, partial(_mmseg, "deeplabv3plus", backbone))
    return builders


FOREIGN_NETWORKS: dict[str, Builder] = _all_builders()


def build(name: str, /, **settings: object) -> deeplab.DeepLab:
    """Build a network by name: one of `FOREIGN_NETWORKS`, or any of `atrous.models`.

    Raises:
        ConfigError: an unknown name or setting, or a value that a setting cannot have.
    """
    builder = FOREIGN_NETWORKS.get(name)
    if builder is None:
        return deeplab.build(name, **settings)
    complete_settings = complete(name, builder.defaults, settings)
    network = builder.make(complete_settings)
    network.name = name
    network.settings = complete_settings
    network.builder = partial(build, name)
    return network
