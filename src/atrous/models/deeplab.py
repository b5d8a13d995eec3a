"""DeepLabv3 and DeepLabv3+ over every backbone, as plain modules with logits (N, K, H, W), and the builders by name."""

from collections.abc import Callable
from typing import Any, Unpack

from torch import Tensor, nn
from torch.nn import functional

from atrous.errors import ConfigError
from atrous.models.aspp import ASPP
from atrous.models.backbone import OUTPUT_STRIDES, Backbone, Features
from atrous.models.heads import AuxiliaryHead, DeepLabV3Head, DeepLabV3PlusHead
from atrous.models.mobilenet import mobilenet_v2, mobilenet_v3_large
from atrous.models.resnet import resnet18, resnet34, resnet50, resnet101
from atrous.models.settings import Settings, complete_settings

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
    "deeplabv3plus_mobilenet_v2",
    "deeplabv3plus_mobilenet_v3_large",
    "deeplabv3plus_resnet18",
    "deeplabv3plus_resnet34",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet101",
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
}


def _assemble(
    version: str, backbone_name: str, num_classes: int, given: Settings, published: Settings | None = None
) -> DeepLab:
    """Build one network from what was `given` over what is `published` with it over the defaults."""
    settings: dict[str, Any] = complete_settings(
        version, backbone_name, num_classes=num_classes, given=given, published=published or {}
    )
    names = ("output_stride", "in_channels", "dilate_first_unit")
    backbone = BACKBONES[backbone_name](**{name: settings[name] for name in names if name in settings})
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

    The defaults are torchvision's, whose weights it takes: rates 12, 24, 36 although the stride is 16 (as far apart in
    the image at another stride), and the stage's rate in the first dilated unit too.
    """
    output_stride = settings.get("output_stride", 16)
    published: Settings = {"dilate_first_unit": True}
    if output_stride in OUTPUT_STRIDES:
        published["atrous_rates"] = tuple(rate * 16 // output_stride for rate in (12, 24, 36))
    return _assemble("deeplabv3", "mobilenet_v3_large", num_classes, settings, published)


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


NETWORKS: dict[str, Callable[..., DeepLab]] = {
    builder.__name__: builder
    for builder in (
        deeplabv3_resnet18,
        deeplabv3_resnet34,
        deeplabv3_resnet50,
        deeplabv3_resnet101,
        deeplabv3_mobilenet_v2,
        deeplabv3_mobilenet_v3_large,
        deeplabv3plus_resnet18,
        deeplabv3plus_resnet34,
        deeplabv3plus_resnet50,
        deeplabv3plus_resnet101,
        deeplabv3plus_mobilenet_v2,
        deeplabv3plus_mobilenet_v3_large,
    )
}


def build(name: str, /, **settings: object) -> DeepLab:
    """Build a network by name, e.g. `build("deeplabv3_resnet50", num_classes=21, output_stride=16)`.

    Raises:
        ConfigError: an unknown name or setting, or a value that a setting cannot have.
    """
    if name not in NETWORKS:
        raise ConfigError(
            f"There is no network {name!r}. Choose one of {', '.join(NETWORKS)}; `atrous models` describes them."
        )
    return NETWORKS[name](**settings)
