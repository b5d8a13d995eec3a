"""Keep freed memory in the process, so that training on a CPU does not fetch it from the kernel again at every step."""

import ctypes
import sys

__all__ = ["give_back_freed_memory", "keep_freed_memory"]

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Let malloc reuse blocks of up to 1 GB instead of mapping them anew; returns whether that could be set.

    Feature maps of a training step are tens of megabytes each. By default glibc maps blocks of more than 32 MB afresh
    and unmaps them when freed, so every step pays for millions of page faults: a quarter to a third of its time on a
    virtual machine (benchmarks/allocator.py). The process keeps its peak until it ends. Elsewhere than on Linux with
    glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * LARGE - 1))


def give_back_freed_memory() -> bool:
    """Give memory that malloc holds and nobody uses back to the system; returns whether that could be done.

    For after preparations that free large blocks: malloc of glibc finds no use for the holes that aligned blocks leave.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False
