"""Memory that is used again: fresh memory costs a page fault for every 4 KB at its first use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["borrow"]

_free: list[Tensor] = []


@contextmanager
def borrow(floats: int) -> Iterator[Tensor]:
    """At least `floats` floats of memory with any content, for one user at a time; a larger piece replaces a smaller.

    As many pieces stay as were in use at the same time. Taking one from the list is safe between Python's threads.
    """
    try:
        memory = _free.pop()
    except IndexError:
        memory = torch.empty(0, dtype=torch.float32, device="cpu")
    if memory.numel() < floats:
        del memory
        memory = torch.empty(floats, dtype=torch.float32, device="cpu")
    try:
        yield memory
    finally:
        _free.append(memory)
