"""Heads: from feature maps to logits at the head's own stride. `reads` names the features that a head reads.

The names of the v3 head's and the auxiliary head's parameters are torchvision's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.models.aspp import ASPP
from atrous.models.backbone import Features
from atrous.models.layers import conv_norm_act, initialise, separable_conv_norm_act

__all__ = ["AuxiliaryHead", "DeepLabV3Head", "DeepLabV3PlusHead"]


class DeepLabV3Head(nn.Sequential):
    """ASPP, a 3x3 convolution, and the 1x1 layer of logits, at the backbone's output stride.

    The 3x3 convolution is torchvision's; the paper goes from ASPP's projection straight to the logits
    (`extra_conv=False`).
    """

    reads = ("high_level",)

    def __init__(self, aspp: ASPP, num_classes: int, *, channels: int = 256, extra_conv: bool = True) -> None:
        layers: list[nn.Module] = [aspp]
        if extra_conv:
            layers += conv_norm_act(channels, channels, kernel=3)
        super().__init__(*layers, nn.Conv2d(channels, num_classes, 1))
        _initialise_head(self, self.logits)

    @property
    def logits(self) -> nn.Conv2d:
        """The last layer."""
        last = self[-1]
        assert isinstance(last, nn.Conv2d)
        return last

    def before_logits(self, features: Features) -> Tensor:
        """The input of the last layer, (N, C, h, w)."""
        x = features.high_level
        for layer in list(self)[:-1]:
            x = layer(x)
        return x

    def forward(self, features: Features) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.logits(self.before_logits(features))


class DeepLabV3PlusHead(nn.Module):
    """ASPP, enlarged to stride 4, joined with the low-level features and refined (v3+ paper, section 3.1).

    48 channels of low-level features and two 3x3 convolutions of 256 are the paper's best (tables 1 and 2).
    """

    reads = ("low_level", "high_level")

    def __init__(
        self,
        aspp: ASPP,
        low_level_channels: int,
        num_classes: int,
        *,
        aspp_channels: int = 256,
        reduced_channels: int = 48,
        decoder_channels: int = 256,
        separable: bool = False,
    ) -> None:
        super().__init__()
        conv = separable_conv_norm_act if separable else _conv3
        self.aspp = aspp
        self.reduce = conv_norm_act(low_level_channels, reduced_channels)
        self.decoder = nn.Sequential(
            conv(aspp_channels + reduced_channels, decoder_channels), conv(decoder_channels, decoder_channels)
        )
        self.logits = nn.Conv2d(decoder_channels, num_classes, 1)
        _initialise_head(self, self.logits)

    def before_logits(self, features: Features) -> Tensor:
        """The input of the last layer, (N, C, h, w)."""
        low_level = self.reduce(features.low_level)
        x = self.aspp(features.high_level)
        x = functional.interpolate(x, size=low_level.shape[-2:], mode="bilinear", align_corners=False)
        return self.decoder(torch.cat([x, low_level], dim=1))

    def forward(self, features: Features) -> Tensor:
        return self.logits(self.before_logits(features))


class AuxiliaryHead(nn.Sequential):
    """A small training-only head: 3x3 to a quarter of the width, dropout, 1x1 (torchvision's FCN head)."""

    reads = ("auxiliary",)

    def __init__(self, in_channels: int, num_classes: int) -> None:
        width = in_channels // 4
        super().__init__(
            *conv_norm_act(in_channels, width, kernel=3), nn.Dropout(0.1), nn.Conv2d(width, num_classes, 1)
        )
        _initialise_head(self, self.logits)

    @property
    def logits(self) -> nn.Conv2d:
        """The last layer."""
        last = self[-1]
        assert isinstance(last, nn.Conv2d)
        return last

    def forward(self, features: Features) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(features.auxiliary)


def _conv3(in_channels: int, out_channels: int) -> nn.Sequential:
    return conv_norm_act(in_channels, out_channels, kernel=3)


def _initialise_head(head: nn.Module, logits: nn.Conv2d) -> None:
    initialise(head)
    nn.init.normal_(logits.weight, std=0.01)  # TensorFlow's DeepLab starts its logits so
