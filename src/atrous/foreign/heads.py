"""Parts of heads that `atrous.models` does not have."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.models.aspp import ASPP
from atrous.models.backbone import Features
from atrous.models.layers import BatchNorm2d, conv_norm_act, initialise

__all__ = ["DecoderHead", "bare_separable_conv", "with_bare_separable_branches", "with_wide_projection"]


class DecoderHead(nn.Module):
    """ASPP, enlarged to the low-level features, joined with them, and refined by a decoder of any layers.

    `align_corners` is of the enlargement inside. Output: logits at stride 4.
    """

    def __init__(
        self, aspp: nn.Module, reduce: nn.Module, decoder: nn.Module, logits: nn.Conv2d, *, align_corners: bool
    ) -> None:
        super().__init__()
        self.aspp = aspp
        self.reduce = reduce
        self.decoder = decoder
        self.logits = logits
        self.align_corners = align_corners
        initialise(self)

    def forward(self, features: Features) -> Tensor:
        """Return logits (N, K, h, w) at the size of the low-level features."""
        low_level = self.reduce(features.low_level)
        x = self.aspp(features.high_level)
        size = low_level.shape[-2:]
        x = functional.interpolate(x, size=size, mode="bilinear", align_corners=self.align_corners)
        return self.logits(self.decoder(torch.cat([x, low_level], dim=1)))


def bare_separable_conv(in_channels: int, out_channels: int, *, dilation: int = 1) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution with nothing between them, then norm and ReLU (segmentation_models.pytorch)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, 1, dilation, dilation, in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def with_bare_separable_branches(aspp: ASPP, in_channels: int, rates: tuple[int, ...], channels: int) -> ASPP:
    """`aspp` with its atrous branches replaced, in place, by `bare_separable_conv`."""
    for position, rate in enumerate(rates, start=1):
        aspp.convs[position] = bare_separable_conv(in_channels, channels, dilation=rate)
    return aspp


def with_wide_projection(aspp: ASPP, channels: int, dropout: float) -> ASPP:
    """`aspp` with a 3x3 convolution, in place of the 1x1, as its projection (MMSegmentation)."""
    projection = conv_norm_act(len(aspp.convs) * channels, channels, kernel=3)
    aspp.project = nn.Sequential(*projection, nn.Dropout(dropout))
    return aspp
