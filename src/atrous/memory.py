"""How much memory has been in use, and how much is free."""

import os
import sys
from pathlib import Path

import torch

__all__ = ["available_memory", "peak_memory"]


def peak_memory(device: torch.device) -> int | None:
    """The most memory in use so far, bytes: of the card on a GPU, else of this process; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if os.name == "posix" and status.exists():
        # The kernel's own mark; what getrusage gives may be the parent's from before `exec`.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> int | None:
    """Bytes that this process could still take without others being pushed out; None where it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
