"""DeepLabv3 and DeepLabv3+ over every backbone, as plain modules with logits (N, K, H, W), and the builders by name."""

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

from torch import Tensor, nn
from torch.nn import functional

from atrous.errors import ConfigError
from atrous.models.aspp import ASPP
from atrous.models.backbone import OUTPUT_STRIDES, Backbone, Features
from atrous.models.heads import AuxiliaryHead, DeepLabV3Head, DeepLabV3PlusHead
from atrous.models.mobilenet import mobilenet_v2, mobilenet_v3_large
from atrous.models.norms import set_norm
from atrous.models.resnet import resnet18, resnet34, resnet50, resnet101
from atrous.models.settings import Settings, complete_settings, settings_at
from atrous.models.shapes_only import shapes_only
from atrous.models.timm_backbone import PREFIX, timm_backbone
from atrous.models.xception import xception65

__all__ = [
    "NETWORKS",
    "DeepLab",
    "build",
    "deeplabv3_mobilenet_v2",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet18",
    "deeplabv3_resnet34",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_xception65",
    "deeplabv3plus_mobilenet_v2",
    "deeplabv3plus_mobilenet_v3_large",
    "deeplabv3plus_resnet18",
    "deeplabv3plus_resnet34",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet101",
    "deeplabv3plus_xception65",
    "is_network",
]


class DeepLab(nn.Module):
    """A backbone, a classifier head, and perhaps an auxiliary head.

    `name` and `settings` (all of them, defaults too) build it again; None and empty for parts put together by hand.
    """

    def __init__(self, backbone: Backbone, classifier: nn.Module, aux_classifier: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.aux_classifier = aux_classifier
        self.name: str | None = None
        self.settings: dict[str, object] = {}

    def features(self, image: Tensor) -> Features:
        """Return the backbone's feature maps of `image` (N, bands, H, W)."""
        return self.backbone.features(image)

    def coarse_logits(self, image: Tensor) -> Tensor:
        """Return the logits at the head's own stride: output stride for v3, 4 for v3+."""
        return self.classifier(self.features(image))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, K, H, W) float of `image` (N, bands, H, W), normalised float, of any size."""
        return enlarge(self.coarse_logits(image), image)

    def rebuilt(self, **settings: object) -> "DeepLab":
        """Return a network of the same name with some settings changed, and with new weights.

        Raises:
            ConfigError: parts put together by hand, which no name can build again; a setting that it cannot have.
        """
        if self.name is None:
            raise ConfigError(
                "This network was put together by hand and cannot be built again with other settings. Expected one that "
                "a name builds. Make it with atrous.models.build."
            )
        return build(self.name, **{**self.settings, **settings})

    def with_output_stride(self, output_stride: int) -> "DeepLab":
        """Return a network with a copy of these weights that works at another output stride: 8, 16 or 32.

        Strides, dilations and ASPP's rates change together (rates x trained stride / new stride), so that every
        convolution reaches as far in the image as before. The result has its own settings, so it saves and loads.

        Raises:
            ConfigError: not an output stride; rates that would not be whole numbers; parts put together by hand.
        """
        changed = settings_at(self.name, self.settings, output_stride) if self.name else {}
        with shapes_only():
            other = self.rebuilt(**changed)
        other.load_state_dict({name: tensor.clone() for name, tensor in self.state_dict().items()}, assign=True)
        for mine, module in zip(self.modules(), other.modules(), strict=True):
            module.training = mine.training
        for mine, parameter in zip(self.parameters(), other.parameters(), strict=True):
            parameter.requires_grad_(mine.requires_grad)
        return other

    def forward_with_auxiliary(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and, where there is an auxiliary head, its logits, both (N, K, H, W)."""
        features = self.features(image)
        logits = enlarge(self.classifier(features), image)
        if self.aux_classifier is None:
            return logits, None
        return logits, enlarge(self.aux_classifier(features), image)


def enlarge(logits: Tensor, image: Tensor) -> Tensor:
    """Resize `logits` bilinearly (half-pixel centres, `align_corners=False`) to the height and width of `image`."""
    return functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


BackboneBuilder = Callable[..., Backbone]

BACKBONES: dict[str, BackboneBuilder] = {
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "xception65": xception65,
}
BACKBONE_SETTINGS = ("output_stride", "in_channels", "dilate_first_unit", "multi_grid", "extra_blocks")


def _assemble(
    version: str, backbone_name: str, num_classes: int, given: Settings, published: Settings | None = None
) -> DeepLab:
    """Build one network from what was `given` over what is `published` with it over the defaults."""
    settings: dict[str, Any] = complete_settings(
        version, backbone_name, num_classes=num_classes, given=given, published=published or {}
    )
    builder = BACKBONES.get(backbone_name) or partial(timm_backbone, backbone_name.removeprefix(PREFIX))
    backbone = builder(**{name: settings[name] for name in BACKBONE_SETTINGS if name in settings})
    aspp_channels, separable = settings["aspp_channels"], settings["separable"]
    aspp = ASPP(
        backbone.high_level_channels,
        settings["atrous_rates"],
        channels=aspp_channels,
        separable=separable,
        image_pooling=settings["image_pooling"],
        dropout=settings["dropout"],
    )
    if version == "deeplabv3":
        classifier: nn.Module = DeepLabV3Head(
            aspp, num_classes, channels=aspp_channels, extra_conv=settings["extra_conv"]
        )
    else:
        classifier = DeepLabV3PlusHead(
            aspp,
            backbone.low_level_channels,
            num_classes,
            aspp_channels=aspp_channels,
            decoder_channels=settings["decoder_channels"],
            separable=separable,
        )
    auxiliary = AuxiliaryHead(backbone.auxiliary_channels, num_classes) if settings["auxiliary"] else None
    network = DeepLab(backbone, classifier, auxiliary)
    if settings["norm"] == "group-head":
        for head in (network.classifier, network.aux_classifier):
            set_norm(head or nn.Identity(), "group")
    else:
        set_norm(network, settings["norm"])
    network.name = f"{version}_{backbone_name}"
    network.settings = settings
    return network


def deeplabv3_resnet18(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over ResNet-18, output stride 16 by default."""
    return _assemble("deeplabv3", "resnet18", num_classes, settings)


def deeplabv3_resnet34(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over ResNet-34, output stride 16 by default."""
    return _assemble("deeplabv3", "resnet34", num_classes, settings)


def deeplabv3_resnet50(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over ResNet-50, output stride 8 as in torchvision, whose weights it takes."""
    return _assemble("deeplabv3", "resnet50", num_classes, settings, {"output_stride": 8})


def deeplabv3_resnet101(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over ResNet-101, output stride 8 as in torchvision, whose weights it takes."""
    return _assemble("deeplabv3", "resnet101", num_classes, settings, {"output_stride": 8})


def deeplabv3_mobilenet_v2(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over MobileNetV2, output stride 16 by default."""
    return _assemble("deeplabv3", "mobilenet_v2", num_classes, settings)


def deeplabv3_mobilenet_v3_large(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over MobileNetV3-Large, output stride 16.

    The defaults are torchvision's, whose weights it takes: rates 12, 24, 36 although the stride is 16, and the stage's
    rate in the first dilated unit too. At another stride both reach as far in the image as they do at 16.
    """
    output_stride = settings.get("output_stride", 16)
    published: Settings = {"dilate_first_unit": 16}
    if output_stride in OUTPUT_STRIDES:
        published["atrous_rates"] = tuple(rate * 16 // output_stride for rate in (12, 24, 36))
    return _assemble("deeplabv3", "mobilenet_v3_large", num_classes, settings, published)


def deeplabv3_xception65(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3 over Aligned Xception-65, output stride 16 by default."""
    return _assemble("deeplabv3", "xception65", num_classes, settings)


def deeplabv3plus_resnet18(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over ResNet-18, output stride 16 by default."""
    return _assemble("deeplabv3plus", "resnet18", num_classes, settings)


def deeplabv3plus_resnet34(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over ResNet-34, output stride 16 by default."""
    return _assemble("deeplabv3plus", "resnet34", num_classes, settings)


def deeplabv3plus_resnet50(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over ResNet-50, output stride 16 by default."""
    return _assemble("deeplabv3plus", "resnet50", num_classes, settings)


def deeplabv3plus_resnet101(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over ResNet-101, output stride 16 by default."""
    return _assemble("deeplabv3plus", "resnet101", num_classes, settings)


def deeplabv3plus_mobilenet_v2(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over MobileNetV2, output stride 16 by default."""
    return _assemble("deeplabv3plus", "mobilenet_v2", num_classes, settings)


def deeplabv3plus_mobilenet_v3_large(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over MobileNetV3-Large, output stride 16 by default."""
    return _assemble("deeplabv3plus", "mobilenet_v3_large", num_classes, settings)


def deeplabv3plus_xception65(num_classes: int = 21, **settings: Unpack[Settings]) -> DeepLab:
    """DeepLabv3+ over Aligned Xception-65, output stride 16 by default."""
    return _assemble("deeplabv3plus", "xception65", num_classes, settings)


NETWORKS: dict[str, Callable[..., DeepLab]] = {
    builder.__name__: builder
    for builder in (
        deeplabv3_resnet18,
        deeplabv3_resnet34,
        deeplabv3_resnet50,
        deeplabv3_resnet101,
        deeplabv3_mobilenet_v2,
        deeplabv3_mobilenet_v3_large,
        deeplabv3_xception65,
        deeplabv3plus_resnet18,
        deeplabv3plus_resnet34,
        deeplabv3plus_resnet50,
        deeplabv3plus_resnet101,
        deeplabv3plus_mobilenet_v2,
        deeplabv3plus_mobilenet_v3_large,
        deeplabv3plus_xception65,
    )
}


def is_network(name: str) -> bool:
    """Whether `name` is one of `NETWORKS`, or `deeplabv3_timm/NAME` or `deeplabv3plus_timm/NAME`, whatever the NAME."""
    return name in NETWORKS or _timm_parts(name) is not None


def build(name: str, /, **settings: object) -> DeepLab:
    """Build a network by name, e.g. `build("deeplabv3_resnet50", num_classes=21, output_stride=16)`.

    `deeplabv3plus_timm/resnet18` has timm's backbone of that name, with random weights: the name, in a model file too,
    says which package it needs.

    Raises:
        ConfigError: an unknown name or setting, or a value that a setting cannot have.
        MissingExtraError: a backbone of timm, and timm is not installed.
    """
    parts = _timm_parts(name)
    if parts is not None:
        given: dict[str, Any] = {"num_classes": 21, **settings}
        return _assemble(*parts, given.pop("num_classes"), given)  # pyright: ignore[reportArgumentType]
    if name not in NETWORKS:
        raise ConfigError(
            f"There is no network {name!r}. Choose one of {', '.join(NETWORKS)}, or deeplabv3plus_{PREFIX}NAME for a "
            "backbone of timm; `atrous models` describes them."
        )
    return NETWORKS[name](**settings)


def _timm_parts(name: str) -> tuple[str, str] | None:
    """(version, backbone) of a network over a backbone of timm, else None."""
    version, _, backbone = name.partition("_")
    is_one = version in ("deeplabv3", "deeplabv3plus") and backbone.startswith(PREFIX) and backbone != PREFIX
    return (version, backbone) if is_one else None
