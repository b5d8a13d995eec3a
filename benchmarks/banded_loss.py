"""How fast is the banded loss beside enlarging the logits first? Alternating, forward and backward."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from atrous.losses import cross_entropy, resized_cross_entropy
from machine import describe


def plain(coarse: Tensor, mask: Tensor) -> Tensor:
    """Enlarge, then take the loss."""
    logits = functional.interpolate(coarse, size=mask.shape[1:], mode="bilinear", align_corners=False)
    return cross_entropy(logits, mask)


def seconds_of(loss: Callable[[Tensor, Tensor], Tensor], coarse: Tensor, mask: Tensor) -> float:
    """Seconds of one loss with its gradient."""
    begin = time.perf_counter()
    loss(coarse, mask).backward()
    coarse.grad = None
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    print(describe())
    for batch, classes, stride, size in ((8, 11, 4, 352), (8, 21, 8, 513), (4, 150, 4, 512)):
        coarse = torch.randn(batch, classes, size // stride, size // stride, requires_grad=True)
        mask = torch.randint(0, classes, (batch, size, size))
        pairs = [(seconds_of(plain, coarse, mask), seconds_of(resized_cross_entropy, coarse, mask)) for _ in range(8)][
            1:
        ]
        ratio = statistics.median(banded / whole for whole, banded in pairs)
        whole, banded = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"batch {batch}, {classes} classes, {size}x{size}, stride {stride}: plain {1000 * whole:.0f} ms, "
            f"banded {1000 * banded:.0f} ms, ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
