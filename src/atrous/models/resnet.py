"""ResNet backbones (He et al. 2015, arXiv 1512.03385) with atrous convolution; parameter names as in torchvision.

The stride of a stage sits in the 3x3 convolution of its first unit ("v1.5"), as in torchvision's weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypedDict, Unpack

from torch import Tensor, nn

from atrous.models.backbone import Backbone, Partial, StageRates, stage_rates
from atrous.models.layers import BatchNorm2d, initialise

__all__ = ["DEPTHS", "ResNet", "ResNetSettings", "resnet18", "resnet34", "resnet50", "resnet101"]

# Units per stage (He et al., table 1).
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class ResNetSettings(TypedDict, total=False):
    """Keyword arguments of every builder here, as `ResNet` describes them."""

    output_stride: int
    in_channels: int
    multi_grid: Sequence[int]
    extra_blocks: int


class BasicUnit(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, *, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        # Comes after the (former) stride, so it has the stage's rate in the first unit already.
        self.conv2 = nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class BottleneckUnit(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut (ResNet-50 and -101).

    Its only 3x3 convolution is the one with the (former) stride, so `first_dilation` is the one that counts.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, first_dilation, first_dilation, bias=False)
        self.bn2 = BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A projection where the shapes differ, else None for the identity."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels))


class ResNet(Backbone):
    """A ResNet without its classifier, up to layer4 or, with `extra_blocks`, to layer5, 6 or 7.

    `depths` are the units per stage. `in_channels` is the number of bands of the image. `multi_grid` has a factor for
    each unit of layer4 and of the extra blocks (v3 paper, section 3.2.1; empty for none): unit i has the stage's rate
    times factor i, the first unit too, so (1, 2, 4) at output stride 16 gives 2, 4, 8. The extra blocks are built like
    layer4, each with twice the dilation of the one before (section 3.2).
    """

    def __init__(
        self,
        unit: type[BasicUnit] | type[BottleneckUnit],
        depths: Sequence[int],
        *,
        output_stride: int = 16,
        in_channels: int = 3,
        multi_grid: Sequence[int] = (),
        extra_blocks: int = 0,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        strides = (1, 2, 2, 2) + (2,) * extra_blocks
        even = stage_rates(strides, output_stride=output_stride, entry_stride=4)
        # With multi-grid all units of layer4 and after it work at their stage's rate: as if trained at stride 16.
        graded = stage_rates(strides, output_stride=output_stride, entry_stride=4, dilate_first_unit=16)
        stages: list[nn.Sequential] = []
        channels = 64
        for position in range(len(strides)):
            last = min(position, 3)
            factors = multi_grid if multi_grid and position >= 3 else (1,) * depths[last]
            rates = (graded if multi_grid else even)[position]
            stages.append(_stage(unit, channels, 64 * 2**last, rates, factors))
            channels = 64 * 2**last * unit.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages[:4]
        for number, stage in enumerate(stages[4:], start=5):
            self.add_module(f"layer{number}", stage)
        self.extra_blocks = extra_blocks
        self.low_level_channels = 64 * unit.expansion
        self.auxiliary_channels = 256 * unit.expansion
        self.high_level_channels = 512 * unit.expansion
        initialise(self)

    def stem(self) -> list[nn.Module]:
        """The first convolution and layer1."""
        return [self.conv1, self.bn1, self.layer1]

    def stages(self) -> dict[str, list[nn.Module]]:
        """`stem` (the first convolution), `layer1` to `layer4`, and the extra blocks."""
        numbers = range(1, 5 + self.extra_blocks)
        layers = {f"layer{number}": [self.get_submodule(f"layer{number}")] for number in numbers}
        return {"stem": [self.conv1, self.bn1], **layers}

    def run_stage(self, name: str, partial: Partial) -> Partial:
        """The low-level features are layer1's (stride 4), the auxiliary ones layer3's."""
        if name == "stem":
            return replace(partial, x=self.maxpool(self.relu(self.bn1(self.conv1(partial.x)))))
        x = self.get_submodule(name)(partial.x)
        taken = {"layer1": {"low_level": x}, "layer3": {"auxiliary": x}}.get(name, {})
        return replace(partial, x=x, **taken)


def _stage(
    unit: type[BasicUnit] | type[BottleneckUnit],
    channels: int,
    width: int,
    rates: StageRates,
    factors: Sequence[int],
) -> nn.Sequential:
    """One unit per factor; the factor multiplies the unit's dilations."""
    units: list[nn.Module] = []
    stride, first = rates.stride, rates.first_dilation
    for factor in factors:
        units.append(
            unit(channels, width, stride=stride, first_dilation=first * factor, dilation=rates.dilation * factor)
        )
        channels, stride, first = width * unit.expansion, 1, rates.dilation
    return nn.Sequential(*units)


def resnet18(**settings: Unpack[ResNetSettings]) -> ResNet:
    """ResNet-18: 512 channels out."""
    return ResNet(BasicUnit, DEPTHS["resnet18"], **settings)


def resnet34(**settings: Unpack[ResNetSettings]) -> ResNet:
    """ResNet-34: 512 channels out."""
    return ResNet(BasicUnit, DEPTHS["resnet34"], **settings)


def resnet50(**settings: Unpack[ResNetSettings]) -> ResNet:
    """ResNet-50: 2048 channels out."""
    return ResNet(BottleneckUnit, DEPTHS["resnet50"], **settings)


def resnet101(**settings: Unpack[ResNetSettings]) -> ResNet:
    """ResNet-101: 2048 channels out."""
    return ResNet(BottleneckUnit, DEPTHS["resnet101"], **settings)
