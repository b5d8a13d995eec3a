"""How fast are the 3x3 convolutions of DeepLabv3-ResNet-50 on a 513x513 image, by each way that `choose` tries?

Ways take turns in one process. Per layer: the chosen way; milliseconds of oneDNN (channels_last), of nine shifted matrix
products and of the chosen way; the ratio; the error against float64, as a share of the output's deviation, with oneDNN's
beside it; and the time that its matrix products would take at the speed of a large one.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.polyphase.choice import choose
from atrous.polyphase.layer import PolyphaseConv2d
from atrous.polyphase.plain import PlainConv2d
from machine import describe

# in, out, size of the map, rate
LAYERS = (
    (64, 64, 129, 1),
    (128, 128, 65, 1),
    (256, 256, 65, 1),
    (256, 256, 65, 2),
    (512, 512, 65, 2),
    (512, 512, 65, 4),
    (2048, 256, 65, 12),
    (2048, 256, 65, 24),
    (2048, 256, 65, 36),
    (960, 256, 33, 12),
    (960, 256, 33, 24),
    (960, 256, 33, 36),
)


def seconds(module: nn.Module, image: Tensor) -> float:
    """One call."""
    begin = time.perf_counter()
    module(image)
    return time.perf_counter() - begin


def product_speed() -> float:
    """Operations a second of a large float32 matrix product, the best of a few."""
    square = torch.rand(1024, 1024)
    times: list[float] = []
    for _ in range(20):
        begin = time.perf_counter()
        torch.mm(square, square)
        times.append(time.perf_counter() - begin)
    return 2 * 1024**3 / min(times)


def errors(conv: nn.Conv2d, module: nn.Module, image: Tensor) -> tuple[float, float]:
    """The largest errors of the module and of `conv`, as shares of the output's standard deviation (before ReLU)."""
    assert conv.bias is not None
    rate = conv.dilation[0]
    exact = functional.conv2d(image.double(), conv.weight.double(), conv.bias.double(), padding=rate, dilation=rate)
    results = module(image), conv(image).relu()
    mine, plain = (float((result - exact.relu()).abs().max() / exact.std()) for result in results)
    return mine, plain


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    speed = product_speed()
    print(describe())
    print(f"a large matrix product: {speed / 1e9:.0f} GFLOP/s\n")
    print("| layer | way | oneDNN ms | shifted ms | chosen ms | ratio | error (oneDNN's) | products ms | filters MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for channels, out_channels, size, rate in LAYERS:
        conv = nn.Conv2d(channels, out_channels, 3, padding=rate, dilation=rate)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        conv.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        image = torch.randn(1, channels, size, size).relu().contiguous(memory_format=torch.channels_last)
        choice = choose(conv, size, size, relu=True)
        ways = (PlainConv2d(conv, relu=True), PlainConv2d(conv, relu=True, shifted=True), choice.module)
        times = [[seconds(way, image) for way in ways] for _ in range(arguments.rounds)]
        plain, shifted, mine = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(row[0] / row[2] for row in times)
        error, plain_error = errors(conv, choice.module, image)
        products, megabytes = "", ""
        if isinstance(choice.module, PolyphaseConv2d):
            products = f"{2000 * choice.module.program(size, size).products / speed:.1f}"
            megabytes = f"{choice.module.weight_bytes / 2**20:.0f}"
        print(
            f"| {channels}->{out_channels} {size}x{size} rate {rate} | {choice.name} | {plain:.1f} | {shifted:.1f} "
            f"| {mine:.1f} | {ratio:.2f} | {error:.0e} ({plain_error:.0e}) | {products} | {megabytes} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
