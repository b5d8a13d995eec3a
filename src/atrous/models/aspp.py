"""Atrous spatial pyramid pooling (DeepLabv3, arXiv 1706.05587, section 3.3); parameter names as in torchvision."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atrous.models.layers import conv_norm_act, separable_conv_norm_act

__all__ = ["ASPP", "default_atrous_rates"]


def default_atrous_rates(output_stride: int) -> tuple[int, int, int]:
    """(6, 12, 18) at output stride 16, doubled at 8, halved at 32 (v3 paper, section 4.2; deeplab2)."""
    return (6 * 16 // output_stride, 12 * 16 // output_stride, 18 * 16 // output_stride)


class ImagePooling(nn.Sequential):
    """The image's mean through a 1x1 convolution, spread over the whole map."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm_act(in_channels, out_channels))

    def forward(self, input: Tensor) -> Tensor:
        # Bilinear resizing of a 1x1 map is constant, so it need not be computed.
        return super().forward(input).expand(-1, -1, input.shape[-2], input.shape[-1])


class ASPP(nn.Module):
    """A 1x1 convolution, one 3x3 convolution per rate, and image pooling, side by side, then a 1x1 projection.

    `atrous_rates` may have any length, 0 too (TensorFlow's MobileNetV2 has none).
    `separable` makes the 3x3 convolutions depthwise separable (v3+ paper).
    `dropout` follows the projection. Output: (N, channels, H, W) at the input's size.
    """

    def __init__(
        self,
        in_channels: int,
        atrous_rates: Sequence[int],
        *,
        channels: int = 256,
        separable: bool = False,
        image_pooling: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        branches: list[nn.Module] = [conv_norm_act(in_channels, channels)]
        for rate in atrous_rates:
            if separable:
                branches.append(separable_conv_norm_act(in_channels, channels, dilation=rate))
            else:
                branches.append(conv_norm_act(in_channels, channels, kernel=3, dilation=rate))
        if image_pooling:
            branches.append(ImagePooling(in_channels, channels))
        self.convs = nn.ModuleList(branches)
        self.project = nn.Sequential(*conv_norm_act(len(branches) * channels, channels), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.convs], dim=1))
