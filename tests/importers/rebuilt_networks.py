"""Networks of three programs, rebuilt in small from their published facts, with their names for tensors.

None of these programs installs beside today's torch. The code is ours; what it states (strides, rates, padding, order
of layers and of what is joined) is theirs, read from their sources. Nothing here uses `atrous`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def conv_bn(inputs: int, outputs: int, kernel: int = 1, rate: int = 1) -> list[nn.Module]:
    padding = rate * (kernel // 2)
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def enlarged(x: Tensor, like: Tensor, *, aligned: bool) -> Tensor:
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=aligned)


class Unit(nn.Module):
    """A residual unit; `rates` of its 3x3 convolutions."""

    def __init__(self, inputs: int, width: int, stride: int, rates: Sequence[int], *, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * 4 if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, stride, rates[0], rates[0], bias=False)
            self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(outputs)
        else:
            self.conv1 = nn.Conv2d(inputs, width, 3, stride, rates[0], rates[0], bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, rates[1], rates[1], bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.bottleneck:
            y = self.bn3(self.conv3(y.relu()))
        return (y + shortcut).relu()


class ResNet(nn.Module):
    """`rates[stage][unit]` and `strides[stage]` are given in full; (layer1, layer4) come back."""

    def __init__(self, strides, rates, *, bottleneck: bool = True, deep_stem: bool = False, plain_second: bool = False):
        super().__init__()
        if deep_stem:
            layers = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), *conv_bn(32, 32, 3)]
            self.stem = nn.Sequential(*layers, *conv_bn(32, 64, 3))
        else:
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for stage, (stride, unit_rates) in enumerate(zip(strides, rates, strict=True)):
            units, width = [], 64 * 2**stage
            for position, rate in enumerate(unit_rates):
                second = 1 if plain_second else rate
                units.append(
                    Unit(channels, width, stride if position == 0 else 1, (rate, second), bottleneck=bottleneck)
                )
                channels = width * 4 if bottleneck else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*units))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x) if hasattr(self, "stem") else self.bn1(self.conv1(x)).relu()
        low = self.layer1(functional.max_pool2d(x, 3, 2, 1))
        return low, self.layer4(self.layer3(self.layer2(low)))


class PaddedUnit(nn.Module):
    """MobileNetV2's unit with the padding before the expansion; `nested` tells how the layers are named."""

    def __init__(self, inputs: int, outputs: int, expand: int, stride: int, rate: int, *, nested: bool) -> None:
        super().__init__()
        width = inputs * expand
        depthwise = [nn.Conv2d(width, width, 3, stride, 0, rate, width, bias=False), nn.BatchNorm2d(width), nn.ReLU6()]
        expansion = [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()] if expand != 1 else []
        last = [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        if nested:
            parts = [nn.Sequential(*part) for part in (expansion, depthwise) if part]
            self.conv = nn.Sequential(*parts, *last)
        else:
            self.conv = nn.Sequential(*expansion, *depthwise, *last)
        self.rate, self.is_residual = rate, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(functional.pad(x, [self.rate] * 4))
        return x + y if self.is_residual else y


class MobileNet(nn.Module):
    """`plan` has (stride, rate of the first unit, rate of the others) of each of the seven stages."""

    def __init__(self, plan, *, nested: bool, first_padding: int, keep_all: bool) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, 32, 3, 2, first_padding, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        units: list[nn.Module] = [first]
        channels = 32
        for (expand, outputs, depth, _), (stride, first_rate, rate) in zip(MOBILENET_STAGES, plan, strict=True):
            for position in range(depth):
                own = (stride, first_rate) if position == 0 else (1, rate)
                units.append(PaddedUnit(channels, outputs, expand, *own, nested=nested))
                channels = outputs
        features = nn.Sequential(*units)
        if keep_all:
            self.features = features
        self.low_level_features, self.high_level_features = features[:4], features[4:]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low = self.low_level_features(x)
        return low, self.high_level_features(low)


class Pooling(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class VainfASPP(nn.Module):
    def __init__(self, inputs: int, rates: Sequence[int]) -> None:
        super().__init__()
        branches = [nn.Sequential(*conv_bn(inputs, 256))]
        branches += [nn.Sequential(*conv_bn(inputs, 256, 3, rate)) for rate in rates]
        self.convs = nn.ModuleList([*branches, Pooling(nn.AdaptiveAvgPool2d(1), *conv_bn(inputs, 256))])
        self.project = nn.Sequential(*conv_bn(1280, 256), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.convs], dim=1))


class VainfHead(nn.Module):
    def __init__(self, inputs: int, low: int, classes: int, rates: Sequence[int], *, plus: bool) -> None:
        super().__init__()
        if plus:
            self.project = nn.Sequential(*conv_bn(low, 48))
            self.aspp = VainfASPP(inputs, rates)
            self.classifier = nn.Sequential(*conv_bn(304, 256, 3), nn.Conv2d(256, classes, 1))
        else:
            self.classifier = nn.Sequential(VainfASPP(inputs, rates), *conv_bn(256, 256, 3), nn.Conv2d(256, classes, 1))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        if not hasattr(self, "project"):
            return self.classifier(high)
        low = self.project(low)
        return self.classifier(torch.cat([low, enlarged(self.aspp(high), low, aligned=False)], dim=1))


class Vainf(nn.Module):
    """Dilated first units keep the previous rate; corners are not aligned; low-level features come first."""

    def __init__(self, backbone: str, output_stride: int, *, plus: bool, classes: int = 21) -> None:
        super().__init__()
        rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
        if backbone == "resnet50":
            dilated = {16: ((1, 2, 2, 1), (1,) * 6, (1, 2, 2)), 8: ((1, 2, 1, 1), (1, 2, 2, 2, 2, 2), (2, 4, 4))}
            strides, third, fourth = dilated[output_stride]
            self.backbone, channels = ResNet(strides, ((1,) * 3, (1,) * 4, third, fourth)), (256, 2048)
        else:
            plan = {
                16: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 1), (1, 1, 2), (1, 2, 2)),
                8: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 2), (1, 2, 4), (1, 4, 4)),
            }[output_stride]
            self.backbone, channels = MobileNet(plan, nested=True, first_padding=0, keep_all=False), (24, 320)
        self.classifier = VainfHead(channels[1], channels[0], classes, rates, plus=plus)

    def forward(self, image: Tensor) -> Tensor:
        return enlarged(self.classifier(*self.backbone(image)), image, aligned=False)


class JfBranch(nn.Module):
    def __init__(self, inputs: int, kernel: int, rate: int) -> None:
        super().__init__()
        self.atrous_conv, self.bn, self.relu = conv_bn(inputs, 256, kernel, rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.atrous_conv(x)))


class JfASPP(nn.Module):
    def __init__(self, inputs: int, rates: Sequence[int]) -> None:
        super().__init__()
        for number, (kernel, rate) in enumerate([(1, 1), *[(3, rate) for rate in rates]], start=1):
            self.add_module(f"aspp{number}", JfBranch(inputs, kernel, rate))
        self.global_avg_pool = Pooling(nn.AdaptiveAvgPool2d(1), *conv_bn(inputs, 256))
        self.conv1, self.bn1, _ = conv_bn(1280, 256)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.aspp1, self.aspp2, self.aspp3, self.aspp4, self.global_avg_pool]
        return self.bn1(self.conv1(torch.cat([branch(x) for branch in branches], dim=1))).relu()


class JfDecoder(nn.Module):
    def __init__(self, low: int, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1, _ = conv_bn(low, 48)
        first, second = conv_bn(304, 256, 3), conv_bn(256, 256, 3)
        self.last_conv = nn.Sequential(*first, nn.Dropout(0.5), *second, nn.Dropout(0.1), nn.Conv2d(256, classes, 1))

    def forward(self, x: Tensor, low: Tensor) -> Tensor:
        low = self.bn1(self.conv1(low)).relu()
        return self.last_conv(torch.cat([enlarged(x, low, aligned=True), low], dim=1))


class Jfzhang95(nn.Module):
    """All units of a dilated stage have its rate, layer4 times (1, 2, 4); corners are aligned everywhere.

    MobileNetV2 raises the rate only after a stage that would have strided.
    """

    def __init__(self, backbone: str, output_stride: int, classes: int = 21) -> None:
        super().__init__()
        rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
        if backbone == "resnet101":
            strides, third, fourth = {16: ((1, 2, 2, 1), 1, (2, 4, 8)), 8: ((1, 2, 1, 1), 2, (4, 8, 16))}[output_stride]
            self.backbone, channels = ResNet(strides, ((1,) * 3, (1,) * 4, (third,) * 23, fourth)), (256, 2048)
        else:
            plan = {
                16: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 1), (1, 1, 1), (1, 2, 2)),
                8: ((1, 1, 1), (2, 1, 1), (2, 1, 1), (1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 4, 4)),
            }[output_stride]
            self.backbone, channels = MobileNet(plan, nested=False, first_padding=1, keep_all=True), (24, 320)
        self.aspp = JfASPP(channels[1], rates)
        self.decoder = JfDecoder(channels[0], classes)

    def forward(self, image: Tensor) -> Tensor:
        low, high = self.backbone(image)
        return enlarged(self.decoder(self.aspp(high), low), image, aligned=True)


class ConvModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, rate: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, 1, rate * (kernel // 2), rate, groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class SeparableModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvModule(inputs, inputs, 3, rate, inputs)
        self.pointwise_conv = ConvModule(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class MmsegHead(nn.Module):
    def __init__(self, inputs: int, low: int, width: int, reduced: int, classes: int, rates, *, plus: bool) -> None:
        super().__init__()
        branch = SeparableModule if plus else lambda inputs, width, rate: ConvModule(inputs, width, 3, rate)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(inputs, width))
        self.aspp_modules = nn.ModuleList([ConvModule(inputs, width), *[branch(inputs, width, rate) for rate in rates]])
        self.bottleneck = ConvModule(5 * width, width, 3)
        self.conv_seg = nn.Conv2d(width, classes, 1)
        if plus:
            self.c1_bottleneck = ConvModule(low, reduced)
            self.sep_bottleneck = nn.Sequential(SeparableModule(width + reduced, width), SeparableModule(width, width))

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        pooled = self.image_pool(high).expand(-1, -1, *high.shape[-2:])
        x = self.bottleneck(torch.cat([pooled, *[branch(high) for branch in self.aspp_modules]], dim=1))
        if hasattr(self, "c1_bottleneck"):
            low = self.c1_bottleneck(low)
            x = self.sep_bottleneck(torch.cat([enlarged(x, low, aligned=False), low], dim=1))
        return self.conv_seg(x)


class Mmseg(nn.Module):
    """The first unit of a dilated stage has half its rate; the second convolution of a basic unit is never dilated."""

    def __init__(
        self, depth: int, output_stride: int, *, plus: bool, deep_stem: bool = True, classes: int = 19
    ) -> None:
        super().__init__()
        units = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
        strides, dilations = {16: ((1, 2, 2, 1), (1, 1, 1, 2)), 8: ((1, 2, 1, 1), (1, 1, 2, 4))}[output_stride]
        rates = [(max(1, d // 2), *[d] * (count - 1)) for count, d in zip(units, dilations, strict=True)]
        bottleneck = depth >= 50
        self.backbone = ResNet(strides, rates, bottleneck=bottleneck, deep_stem=deep_stem, plain_second=True)
        low, high, width, reduced = (256, 2048, 512, 48) if bottleneck else (64, 512, 128, 12)
        aspp_rates = (6, 12, 18) if output_stride == 16 else (12, 24, 36)
        self.decode_head = MmsegHead(high, low, width, reduced, classes, aspp_rates, plus=plus)
        self.auxiliary_head = nn.ModuleDict({"conv_seg": nn.Conv2d(8, classes, 1)})

    def forward(self, image: Tensor) -> Tensor:
        return enlarged(self.decode_head(*self.backbone(image)), image, aligned=False)
