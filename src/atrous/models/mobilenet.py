"""MobileNetV2 (arXiv 1801.04381) and MobileNetV3-Large (arXiv 1905.02244) backbones; parameter names as in torchvision.

Both are a list of blocks; torchvision calls it `features`, and its DeepLab drops that word, so a checkpoint's
`features.0.0.weight` is `0.0.weight` here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from atrous.models.backbone import Backbone, Partial, StageRates, stage_rates
from atrous.models.layers import conv_norm_act, initialise

__all__ = ["BlockBackbone", "mobilenet_v2", "mobilenet_v3_large"]

# MobileNetV2, table 2: expansion, channels, repeats, stride.
V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


@dataclass(frozen=True)
class V3Block:
    """One row of MobileNetV3's table 1, without its stride."""

    kernel: int
    width: int
    out_channels: int
    squeeze: bool
    hard_swish: bool


# MobileNetV3, table 1, grouped by stage: the stride of the stage's first block, and its blocks.
V3_STAGES = (
    (1, (V3Block(3, 16, 16, False, False),)),
    (2, (V3Block(3, 64, 24, False, False), V3Block(3, 72, 24, False, False))),
    (2, (V3Block(5, 72, 40, True, False), V3Block(5, 120, 40, True, False), V3Block(5, 120, 40, True, False))),
    (
        2,
        (
            V3Block(3, 240, 80, False, True),
            V3Block(3, 200, 80, False, True),
            V3Block(3, 184, 80, False, True),
            V3Block(3, 184, 80, False, True),
        ),
    ),
    (1, (V3Block(3, 480, 112, True, True), V3Block(3, 672, 112, True, True))),
    (2, (V3Block(5, 672, 160, True, True), V3Block(5, 960, 160, True, True), V3Block(5, 960, 160, True, True))),
)

# MobileNetV3, section 6.1.1, as torchvision reads it.
_v3_conv = partial(conv_norm_act, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1x1 expansion, 3x3 depthwise, 1x1 linear projection."""

    def __init__(self, in_channels: int, out_channels: int, *, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        width = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_norm_act(in_channels, width, activation=nn.ReLU6))
        layers.append(
            conv_norm_act(width, width, kernel=3, stride=stride, dilation=dilation, groups=width, activation=nn.ReLU6)
        )
        layers += conv_norm_act(width, out_channels, activation=None).children()
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.is_residual else self.conv(x)


class SqueezeExcite(nn.Module):
    """Channel weights from the image's mean (MobileNetV3, section 5.3: a quarter of the width, hard sigmoid)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _divisible_by_8(channels // 4)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


def _divisible_by_8(channels: float) -> int:
    """The nearest multiple of 8 that is not more than 10 % smaller (MobileNetV2's reference code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class InvertedResidualV3(nn.Module):
    """MobileNetV3's block: like V2's, with squeeze-and-excite and hard-swish where the table has them."""

    def __init__(self, in_channels: int, row: V3Block, *, stride: int, dilation: int) -> None:
        super().__init__()
        activation: type[nn.Module] = nn.Hardswish if row.hard_swish else nn.ReLU
        layers: list[nn.Module] = []
        if row.width != in_channels:
            layers.append(_v3_conv(in_channels, row.width, activation=activation))
        layers.append(
            _v3_conv(
                row.width,
                row.width,
                kernel=row.kernel,
                stride=stride,
                dilation=dilation,
                groups=row.width,
                activation=activation,
            )
        )
        if row.squeeze:
            layers.append(SqueezeExcite(row.width))
        layers.append(_v3_conv(row.width, row.out_channels, activation=None))
        self.block = nn.Sequential(*layers)
        self.is_residual = stride == 1 and in_channels == row.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.is_residual else self.block(x)


class BlockBackbone(Backbone):
    """A list of blocks, numbered as in torchvision, with the positions of the blocks whose maps are features."""

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        *,
        low_level: tuple[int, int],
        auxiliary: tuple[int, int],
        high_level_channels: int,
        output_stride: int,
        stage_ends: Sequence[int],
    ) -> None:
        """`low_level` and `auxiliary` are (position, channels); `stage_ends` the positions after each stage."""
        super().__init__()
        self.stage_ends = tuple(stage_ends)
        for position, block in enumerate(blocks):
            self.add_module(str(position), block)
        self.low_level_position, self.low_level_channels = low_level
        self.auxiliary_position, self.auxiliary_channels = auxiliary
        self.high_level_channels = high_level_channels
        self.output_stride = output_stride
        initialise(self)

    def stem(self) -> list[nn.Module]:
        """The blocks up to the low-level features, that block included."""
        return list(self.children())[: self.low_level_position + 1]

    def stages(self) -> dict[str, list[nn.Module]]:
        """`stage1` (with the first convolution), `stage2` and so on: the rows of the papers' tables; then `last`."""
        blocks, ends = list(self.children()), self.stage_ends
        stages = {
            f"stage{number}": blocks[start:end] for number, (start, end) in enumerate(pairwise((0, *ends)), start=1)
        }
        return {**stages, "last": blocks[ends[-1] :]} if ends[-1] < len(blocks) else stages

    def run_stage(self, name: str, partial: Partial) -> Partial:
        """The features are taken after the blocks whose positions were given."""
        positions = {block: position for position, block in enumerate(self.children())}
        for block in self.stages()[name]:
            partial = replace(partial, x=block(partial.x))
            if positions[block] == self.low_level_position:
                partial = replace(partial, low_level=partial.x)
            if positions[block] == self.auxiliary_position:
                partial = replace(partial, auxiliary=partial.x)
        return partial


def _unit_rates(rates: StageRates, depth: int) -> list[tuple[int, int]]:
    """(stride, dilation) of each unit of a stage."""
    return [(rates.stride, rates.first_dilation)] + [(1, rates.dilation)] * (depth - 1)


def mobilenet_v2(*, output_stride: int = 16, in_channels: int = 3) -> BlockBackbone:
    """MobileNetV2 of width 1.0 up to its last block: 320 channels out; low level 24 channels.

    The 1280-channel convolution before the classifier is left out, as in DeepLab's release.
    """
    blocks: list[nn.Module] = [conv_norm_act(in_channels, 32, kernel=3, stride=2, activation=nn.ReLU6)]
    strides = [stride for *_, stride in V2_STAGES]
    channels, ends = 32, list[int]()
    for (expansion, out_channels, depth, _), rates in zip(
        V2_STAGES, stage_rates(strides, output_stride=output_stride, entry_stride=2), strict=True
    ):
        for stride, dilation in _unit_rates(rates, depth):
            blocks.append(
                InvertedResidual(channels, out_channels, expansion=expansion, stride=stride, dilation=dilation)
            )
            channels = out_channels
        ends.append(len(blocks))
    return BlockBackbone(
        blocks,
        low_level=(3, 24),
        auxiliary=(6, 32),
        high_level_channels=channels,
        output_stride=output_stride,
        stage_ends=ends,
    )


def mobilenet_v3_large(
    *, output_stride: int = 16, in_channels: int = 3, dilate_first_unit: bool | int = False
) -> BlockBackbone:
    """MobileNetV3-Large up to its 960-channel convolution; low level 24 channels.

    `dilate_first_unit` is as in `stage_rates`; torchvision's DeepLab was trained with it at output stride 16.
    """
    blocks: list[nn.Module] = [_v3_conv(in_channels, 16, kernel=3, stride=2, activation=nn.Hardswish)]
    strides = [stride for stride, _ in V3_STAGES]
    all_rates = stage_rates(strides, output_stride=output_stride, entry_stride=2, dilate_first_unit=dilate_first_unit)
    channels, ends = 16, list[int]()
    for (_, stage), rates in zip(V3_STAGES, all_rates, strict=True):
        for block, (stride, dilation) in zip(stage, _unit_rates(rates, len(stage)), strict=True):
            blocks.append(InvertedResidualV3(channels, block, stride=stride, dilation=dilation))
            channels = block.out_channels
        ends.append(len(blocks))
    blocks.append(_v3_conv(channels, 6 * channels, activation=nn.Hardswish))
    return BlockBackbone(
        blocks,
        low_level=(3, 24),
        auxiliary=(4, 40),
        high_level_channels=6 * channels,
        output_stride=output_stride,
        stage_ends=ends,
    )
