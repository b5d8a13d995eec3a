"""A network of a few hundred numbers that is built by name, for tests of files."""

from typing import Any

from torch import Tensor

from atrous.models import DeepLab
from atrous.models.aspp import ASPP
from atrous.models.backbone import Backbone, Features
from atrous.models.heads import AuxiliaryHead, DeepLabV3Head
from atrous.models.layers import conv_norm_act
from atrous.models.settings import complete_settings


class TinyBackbone(Backbone):
    def __init__(self, bands: int) -> None:
        super().__init__()
        self.low_level_channels = self.auxiliary_channels = self.high_level_channels = 4
        self.output_stride = 8
        self.layer1 = conv_norm_act(bands, 4, kernel=3, stride=4)
        self.layer2 = conv_norm_act(4, 4, kernel=3, stride=2)

    def features(self, image: Tensor) -> Features:
        low_level = self.layer1(image)
        return Features(low_level, low_level, self.layer2(low_level))


def tiny(num_classes: int = 3, **given: object) -> DeepLab:
    """DeepLabv3 in small: four channels everywhere."""
    settings: dict[str, Any] = complete_settings(
        "deeplabv3",
        "tiny",
        num_classes=num_classes,
        given=given,
        published={"output_stride": 8, "atrous_rates": (2,), "aspp_channels": 4},
    )
    channels = settings["aspp_channels"]
    head = DeepLabV3Head(
        ASPP(4, settings["atrous_rates"], channels=channels, dropout=settings["dropout"]),
        num_classes,
        channels=channels,
        extra_conv=settings["extra_conv"],
    )
    auxiliary = AuxiliaryHead(4, num_classes) if settings["auxiliary"] else None
    network = DeepLab(TinyBackbone(settings["in_channels"]), head, auxiliary)
    network.name = "deeplabv3_tiny"
    network.settings = settings
    return network
