"""Aligned Xception-65 (DeepLabv3+, arXiv 1802.02611, section 3.2 and figure 4) with atrous convolution.

Where the paper is silent, its code decides (tensorflow/models, research/deeplab/core/xception.py): ReLU stands before a
separable convolution, and only the last block has it inside, after each norm; the low-level features are taken before
a ReLU.
"""

from dataclasses import replace

from torch import Tensor, nn

from atrous.models.backbone import Backbone, Partial, stage_rates
from atrous.models.layers import conv_norm_act, initialise, separable_conv_norm_act

__all__ = ["Xception65", "XceptionBlock", "xception65"]

# Figure 4, and the code's `xception_arg_scope`. Its decay of 0.9997 belongs to runs of 30,000 steps and more, and changes
# no output of trained weights: here batch norm keeps PyTorch's momentum.
EPS = 1e-3
INITIAL_DEVIATION = 0.09

ENTRY = ((128, 128, 128), (256, 256, 256), (728, 728, 728))
MIDDLE = ((728, 728, 728),) * 16
EXIT = ((728, 1024, 1024), (1536, 1536, 2048))


class XceptionBlock(nn.Module):
    """Three separable convolutions, the stride in the last, and a shortcut around them.

    The shortcut is a 1x1 convolution where the shapes differ, else the input itself. The exit flow's last block has
    none: `is_last`.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, int, int], *, stride: int, dilation: int, is_last: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Sequential] = []
        channels = in_channels
        for width, own_stride in zip(widths, (1, 1, stride), strict=True):
            convs = separable_conv_norm_act(
                channels,
                width,
                stride=own_stride,
                dilation=dilation,
                activation=nn.ReLU if is_last else None,
                eps=EPS,
            )
            # Not in place: the shortcut and the decoder read what it reads.
            layers.append(convs if is_last else nn.Sequential(nn.ReLU(), *convs))
            channels = width
        self.conv1, self.conv2, self.conv3 = layers
        self.is_last = is_last
        self.shortcut = (
            None
            if is_last or (stride == 1 and in_channels == channels)
            else conv_norm_act(in_channels, channels, stride=stride, activation=None, eps=EPS)
        )

    def first_two(self, x: Tensor) -> Tensor:
        """The output of the second separable convolution: at the input's stride."""
        return self.conv2(self.conv1(x))

    def rest(self, x: Tensor, inner: Tensor) -> Tensor:
        """The block's output for the input `x`, given `inner`, its `first_two`."""
        y = self.conv3(inner)
        if self.is_last:
            return y
        return y + (x if self.shortcut is None else self.shortcut(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(x, self.first_two(x))


class Xception65(Backbone):
    """Entry flow (stride 16 without dilation), 16 middle blocks, exit flow: 2048 channels out.

    A block's stride sits in its last convolution, so all three have the rate of the map that the block reads.
    """

    low_level_channels = 256
    auxiliary_channels = 728
    high_level_channels = 2048

    def __init__(self, *, output_stride: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        self.output_stride = output_stride
        self.root = nn.Sequential(
            conv_norm_act(in_channels, 32, kernel=3, stride=2, eps=EPS), conv_norm_act(32, 64, kernel=3, eps=EPS)
        )
        strides = (2, 2, 2, *(1 for _ in MIDDLE), 2, 1)
        blocks: list[XceptionBlock] = []
        channels = 64
        all_rates = stage_rates(strides, output_stride=output_stride, entry_stride=2)
        for widths, rates in zip((*ENTRY, *MIDDLE, *EXIT), all_rates, strict=True):
            is_last = len(blocks) == len(strides) - 1
            blocks.append(
                XceptionBlock(channels, widths, stride=rates.stride, dilation=rates.first_dilation, is_last=is_last)
            )
            channels = widths[-1]
        self.entry1, self.entry2, self.entry3 = blocks[:3]
        self.middle = nn.Sequential(*blocks[3:-2])
        self.exit = nn.Sequential(*blocks[-2:])
        initialise(self)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.trunc_normal_(
                    layer.weight, std=INITIAL_DEVIATION, a=-2 * INITIAL_DEVIATION, b=2 * INITIAL_DEVIATION
                )

    def stem(self) -> list[nn.Module]:
        """The first two convolutions, the entry flow's first block, and two thirds of its second."""
        return [self.root, self.entry1, self.entry2.conv1, self.entry2.conv2]

    def stages(self) -> dict[str, list[nn.Module]]:
        """`root`, `entry1` to `entry3`, `middle` and `exit`."""
        return {name: [module] for name, module in self.named_children()}

    def run_stage(self, name: str, partial: Partial) -> Partial:
        """The low-level features are taken inside entry2 (stride 4), the auxiliary ones after the middle flow."""
        if name == "entry2":
            low_level = self.entry2.first_two(partial.x)
            return replace(partial, x=self.entry2.rest(partial.x, low_level), low_level=low_level)
        x = self.get_submodule(name)(partial.x)
        return replace(partial, x=x, auxiliary=x) if name == "middle" else replace(partial, x=x)


def xception65(*, output_stride: int = 16, in_channels: int = 3) -> Xception65:
    """Aligned Xception-65: 2048 channels out; low level 256 channels."""
    return Xception65(output_stride=output_stride, in_channels=in_channels)
