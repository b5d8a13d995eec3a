"""Backbones of `atrous.models`, changed in place to what other programs made of them."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from atrous.models.layers import conv_norm_act
from atrous.models.mobilenet import BlockBackbone, InvertedResidual, mobilenet_v2
from atrous.models.resnet import BasicUnit, ResNet

__all__ = [
    "SamePadded",
    "dilate_stages",
    "multi_grid",
    "pad_before_expansion",
    "same_padding",
    "set_rates",
    "three_conv_stem",
    "undilate_second_convs",
    "with_last_conv",
]


class SamePadded(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding: an even length gets its one pixel of padding at the end.

    PyTorch pads both ends alike, which for an even length and stride 2 puts every output half a step further up left.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve `input` (N, C, H, W); length n becomes ceil(n / stride)."""
        pads: list[int] = []
        for axis in (1, 0):  # functional.pad begins with the last axis
            stride, reach = self.stride[axis], (self.kernel_size[axis] - 1) * self.dilation[axis]
            length = input.shape[2 + axis]
            total = max(0, (-(-length // stride) - 1) * stride + reach + 1 - length)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def same_padding(module: nn.Module) -> None:
    """Give every strided convolution below `module` TensorFlow's padding; at stride 1 it is PyTorch's."""
    for conv in _convolutions(module):
        if conv.stride != (1, 1):
            conv.__class__ = SamePadded


def set_rates(module: nn.Module, rate: int) -> None:
    """Give every 3x3 convolution below `module` this rate."""
    for conv in _convolutions(module):
        if conv.kernel_size != (1, 1):
            conv.dilation = conv.padding = (rate, rate)


def dilate_stages(stages: Iterable[tuple[int, nn.Module]], *, output_stride: int) -> None:
    """Give all units of a dilated stage, the first one too, the stage's rate.

    `stages` are (stride that the stage has without atrous convolution, its units).
    """
    for stride, stage in stages:
        if stride > output_stride:
            set_rates(stage, stride // output_stride)


def multi_grid(stage: nn.Sequential, grid: Iterable[int], *, rate: int) -> None:
    """Give unit i of `stage` the rate grid[i] x `rate`."""
    for unit, factor in zip(stage, grid, strict=True):
        set_rates(unit, factor * rate)


def undilate_second_convs(backbone: ResNet) -> None:
    """Give the second 3x3 convolution of ResNet-18's and -34's units the rate 1 (MMSegmentation)."""
    for unit in backbone.modules():
        if isinstance(unit, BasicUnit):
            set_rates(unit.conv2, 1)


def three_conv_stem(backbone: ResNet, *, in_channels: int) -> None:
    """Put three 3x3 convolutions in place of the 7x7 one ("V1c")."""
    first = conv_norm_act(in_channels, 32, kernel=3, stride=2)
    second = conv_norm_act(32, 32, kernel=3)
    backbone.conv1 = nn.Sequential(*first, *second, nn.Conv2d(32, 64, 3, 1, 1, bias=False))  # pyright: ignore[reportAttributeAccessIssue]


def with_last_conv(output_stride: int, *, in_channels: int) -> BlockBackbone:
    """MobileNetV2 with the 1280-channel convolution that DeepLab's release leaves out."""
    plain = mobilenet_v2(output_stride=output_stride, in_channels=in_channels)
    last = conv_norm_act(plain.high_level_channels, 1280, activation=nn.ReLU6)
    return BlockBackbone(
        [*plain.children(), last],
        low_level=(plain.low_level_position, plain.low_level_channels),
        auxiliary=(plain.auxiliary_position, plain.auxiliary_channels),
        high_level_channels=1280,
        output_stride=output_stride,
        stage_ends=plain.stage_ends,
    )


class PaddedFirst(nn.Module):
    """An inverted residual unit that pads its input, not its expansion.

    The border of what the depthwise convolution sees is then not 0 but what the expansion makes of 0.
    """

    def __init__(self, unit: InvertedResidual) -> None:
        super().__init__()
        self.conv = unit.conv
        self.is_residual = unit.is_residual
        (depthwise,) = [conv for conv in _convolutions(unit.conv) if conv.kernel_size != (1, 1)]
        self.margin = depthwise.dilation[0]
        depthwise.padding = (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unit's output, at the size that it would have with the usual padding."""
        y = self.conv(functional.pad(x, [self.margin] * 4))
        return x + y if self.is_residual else y


def pad_before_expansion(backbone: BlockBackbone) -> None:
    """Make every inverted residual unit pad its input. Call it last: the rates are fixed by it."""
    for position, unit in list(backbone.named_children()):
        if isinstance(unit, InvertedResidual):
            backbone._modules[position] = PaddedFirst(unit)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
