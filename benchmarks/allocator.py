"""What do page faults cost a training step on a CPU? With and without `keep_freed_memory`, in processes that alternate."""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch

from atrous.allocator import keep_freed_memory
from atrous.losses import resized_cross_entropy
from atrous.models.deeplab import build
from atrous.training.freezing import freeze, train_mode
from machine import describe


def one_process(keep: bool, stem: bool) -> None:
    """Print the median seconds of a step, the page faults of all of them and the peak memory in megabytes."""
    if keep:
        keep_freed_memory()
    torch.manual_seed(0)
    network = build(
        "deeplabv3plus_mobilenet_v2", num_classes=11, separable=True, aspp_channels=128, decoder_channels=128
    )
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    freeze(network, "none", stem=stem)
    train_mode(network, "none", stem=stem)
    image = torch.randn(8, 3, 304, 400).contiguous(memory_format=torch.channels_last)
    mask = torch.randint(0, 11, (8, 304, 400))
    seconds: list[float] = []
    for _ in range(7):
        begin = time.perf_counter()
        resized_cross_entropy(network.coarse_logits(image), mask).backward()
        network.zero_grad()
        seconds.append(time.perf_counter() - begin)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(statistics.median(seconds), usage.ru_minflt, usage.ru_maxrss // 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, type=int)
    arguments = parser.parse_args()
    if arguments.child:
        one_process(*map(bool, arguments.child))
        return
    print(describe())
    print("DeepLabv3+ MobileNetV2, 128 channels, batch 8 of 304x400, forward and backward")
    for stem in (0, 1):
        ratios: list[float] = []
        for _ in range(3):
            seconds: list[float] = []
            for keep in (0, 1):
                command = [sys.executable, __file__, "--child", str(keep), str(stem)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                time_, faults, megabytes = done.stdout.split()
                seconds.append(float(time_))
                print(
                    f"stem frozen {bool(stem)}, memory kept {bool(keep)}: {float(time_):.3f} s, "
                    f"{faults} faults, {megabytes} MB"
                )
            ratios.append(seconds[1] / seconds[0])
        print(f"ratio kept / not kept, median of {len(ratios)}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
