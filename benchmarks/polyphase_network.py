"""How much faster is the whole DeepLabv3-ResNet-50 with filtered convolutions, at 513x513 and output stride 8?

Both networks have their batch norm folded into the convolutions and work in channels_last memory; one has the chosen way
for each eligible 3x3 convolution. They take turns. Random weights; the logits' difference is told beside the ratio.
"""

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from atrous.models import deeplabv3_resnet50
from atrous.models.resnet import BottleneckUnit
from atrous.polyphase.choice import choose
from atrous.polyphase.layer import PolyphaseConv2d, is_eligible
from machine import describe


def fold(module: nn.Module) -> None:
    """Move every batch norm into the convolution before it."""
    before: str | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            conv = module.get_submodule(before)
            assert isinstance(conv, nn.Conv2d)
            setattr(module, before, fuse_conv_bn_eval(conv, child))
            setattr(module, name, nn.Identity())
        before = name if isinstance(child, nn.Conv2d) else None
        fold(child)


class FusedUnit(nn.Module):
    """A bottleneck unit whose 3x3 convolution has its ReLU inside."""

    def __init__(self, unit: BottleneckUnit, conv2: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.relu = unit.conv1, conv2, unit.conv3, unit.relu
        self.downsample = unit.downsample

    def forward(self, x: Tensor) -> Tensor:
        """The unit's map of `x`, both (N, C, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv3(self.conv2(self.relu(self.conv1(x)))) + shortcut)


def replace(network: nn.Module, image: Tensor) -> int:
    """Put the chosen way in the place of every eligible convolution; returns the bytes of the transformed filters."""
    sizes: dict[str, tuple[int, int]] = {}

    def remember(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes[name] = (inputs[0].shape[2], inputs[0].shape[3])

        handles.append(network.get_submodule(name).register_forward_hook(hook))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in network.named_modules():
        if is_eligible(module):
            remember(name)
    network(image)
    for handle in handles:
        handle.remove()
    filters = 0
    for name, size in sizes.items():
        conv = network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        choice = choose(conv, *size, relu=True)
        print(f"{name} at {size[0]}x{size[1]}: {choice.name}, {choice.reason}", flush=True)
        if isinstance(choice.module, PolyphaseConv2d):
            filters += choice.module.weight_bytes
        parent_name, _, leaf = name.rpartition(".")
        parent = network.get_submodule(parent_name)
        if isinstance(parent, BottleneckUnit):
            network.set_submodule(parent_name, FusedUnit(parent, choice.module))
        else:  # convolution, folded batch norm, ReLU in a row
            network.set_submodule(name, choice.module)
            network.set_submodule(f"{parent_name}.{int(leaf) + 2}", nn.Identity())
    return filters


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=513)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(describe())
    network = deeplabv3_resnet50(21, output_stride=8).eval()
    fold(network)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    image = torch.randn(1, 3, arguments.size, arguments.size).contiguous(memory_format=torch.channels_last)
    fast = copy.deepcopy(network)
    begin = time.perf_counter()
    filters = replace(fast, image)
    print(f"choosing took {time.perf_counter() - begin:.1f} s; filters {filters / 2**20:.0f} MB")
    plain, mine = network(image), fast(image)
    print(
        f"logits: largest difference {float((plain - mine).abs().max() / plain.std()):.1e} of their deviation, "
        f"{int((plain.argmax(1) != mine.argmax(1)).sum())} of {plain[0, 0].numel()} labels changed"
    )
    times: list[tuple[float, float]] = []
    for _ in range(arguments.rounds):
        seconds: list[float] = []
        for each in (network, fast):
            begin = time.perf_counter()
            each(image)
            seconds.append(time.perf_counter() - begin)
        times.append((seconds[0], seconds[1]))
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(row[1] / row[0] for row in times)
    print(f"oneDNN {medians[0]:.2f} s, chosen {medians[1]:.2f} s; median of the ratios {ratio:.2f}")
    print("fastest of each: " + ", ".join(f"{min(column):.2f} s" for column in zip(*times, strict=True)))


if __name__ == "__main__":
    main()
