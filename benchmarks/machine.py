"""What a result page says of the machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from atrous.environment import package_versions


def describe() -> str:
    """Date, commit, processor, cores, threads and versions, a line each."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    versions = ", ".join(f"{name} {version}" for name, version in package_versions().items())
    return "\n".join(
        [
            f"date: {datetime.now(UTC):%Y-%m-%d}",
            f"commit: {done.stdout.strip() or 'unknown'}",
            f"processor: {model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            f"versions: {versions}, python {platform.python_version()}",
        ]
    )
