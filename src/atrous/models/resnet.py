"""ResNet backbones (He et al. 2015, arXiv 1512.03385) with atrous convolution; parameter names as in torchvision.

The stride of a stage sits in the 3x3 convolution of its first unit ("v1.5"), as in torchvision's weights.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from atrous.models.backbone import Backbone, Features, stage_rates
from atrous.models.layers import BatchNorm2d, initialise

__all__ = ["ResNet", "resnet18", "resnet34", "resnet50", "resnet101"]


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
    """A ResNet without its classifier.

    `depths` are the units per stage. `in_channels` is the number of bands of the image.
    """

    def __init__(
        self,
        unit: type[BasicUnit] | type[BottleneckUnit],
        depths: Sequence[int],
        *,
        output_stride: int = 16,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages: list[nn.Sequential] = []
        channels, width = 64, 64
        all_rates = stage_rates((1, 2, 2, 2), output_stride=output_stride, entry_stride=4)
        for depth, rates in zip(depths, all_rates, strict=True):
            units: list[nn.Module] = []
            for stride, first_dilation in [(rates.stride, rates.first_dilation)] + [(1, rates.dilation)] * (depth - 1):
                units.append(
                    unit(channels, width, stride=stride, first_dilation=first_dilation, dilation=rates.dilation)
                )
                channels = width * unit.expansion
            stages.append(nn.Sequential(*units))
            width *= 2
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.low_level_channels = 64 * unit.expansion
        self.auxiliary_channels = 256 * unit.expansion
        self.high_level_channels = 512 * unit.expansion
        initialise(self)

    def stem(self) -> list[nn.Module]:
        """The first convolution and layer1."""
        return [self.conv1, self.bn1, self.layer1]

    def features(self, image: Tensor) -> Features:
        """Return layer1 (stride 4), layer3 and layer4 (output stride) of `image` (N, bands, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        low_level = self.layer1(x)
        auxiliary = self.layer3(self.layer2(low_level))
        return Features(low_level, auxiliary, self.layer4(auxiliary))


def resnet18(*, output_stride: int = 16, in_channels: int = 3) -> ResNet:
    """ResNet-18: 512 channels out."""
    return ResNet(BasicUnit, (2, 2, 2, 2), output_stride=output_stride, in_channels=in_channels)


def resnet34(*, output_stride: int = 16, in_channels: int = 3) -> ResNet:
    """ResNet-34: 512 channels out."""
    return ResNet(BasicUnit, (3, 4, 6, 3), output_stride=output_stride, in_channels=in_channels)


def resnet50(*, output_stride: int = 16, in_channels: int = 3) -> ResNet:
    """ResNet-50: 2048 channels out."""
    return ResNet(BottleneckUnit, (3, 4, 6, 3), output_stride=output_stride, in_channels=in_channels)


def resnet101(*, output_stride: int = 16, in_channels: int = 3) -> ResNet:
    """ResNet-101: 2048 channels out."""
    return ResNet(BottleneckUnit, (3, 4, 23, 3), output_stride=output_stride, in_channels=in_channels)
