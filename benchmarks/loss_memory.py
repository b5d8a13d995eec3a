"""How much memory does the banded loss take beside enlarging the logits first? 16 x 150 classes x 512 x 512.

Each in a process of its own: the peak above what the process held before the loss, forward and backward.
"""

import argparse
import resource
import subprocess
import sys

import torch
from torch.nn import functional

from atrous.losses import cross_entropy, make_loss
from machine import describe


def one_process(side: str, batch: int, classes: int, size: int, stride: int) -> None:
    """Print the bytes that one side needs."""
    torch.manual_seed(0)
    coarse = torch.randn(batch, classes, size // stride, size // stride, requires_grad=True)
    mask = torch.randint(0, classes, (batch, size, size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if side == "plain":
        logits = functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
        cross_entropy(logits, mask).backward()
    else:
        make_loss(side)(coarse, mask).backward()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--stride", type=int, default=4)
    arguments = parser.parse_args()
    shape = (arguments.batch, arguments.classes, arguments.size, arguments.stride)
    if arguments.side:
        one_process(arguments.side, *shape)
        return
    print(describe())
    print("batch {}, {} classes, {} pixels square, stride {}".format(*shape))
    taken: dict[str, int] = {}
    for side in ("plain", "cross_entropy", "focal"):
        command = [sys.executable, __file__, "--side", side, "--batch", str(shape[0]), "--classes", str(shape[1])]
        command += ["--size", str(shape[2]), "--stride", str(shape[3])]
        taken[side] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{side}: {taken[side] / 2**20:.0f} MB, {taken[side] / taken['plain']:.3f} of the plain one")


if __name__ == "__main__":
    main()
