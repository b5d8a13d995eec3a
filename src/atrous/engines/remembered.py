"""What trials of convolutions found on this machine, kept between processes: the same choices, and no second trial."""

import json
import platform
from contextlib import suppress
from pathlib import Path

import torch

from atrous.cache import cache_folder
from atrous.environment import package_versions
from atrous.errors import OutputError
from atrous.files import make_folder, write_atomically
from atrous.polyphase.choice import found_choices, use_choices

__all__ = ["read_choices", "write_choices"]


def read_choices() -> None:
    """Take over what earlier processes found; a file of another machine, thread count or version counts for nothing."""
    try:
        document = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(document, dict) and document.get("made_on") == _machine():
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            use_choices(document["choices"])


def write_choices() -> None:
    """Keep what was found; where the folder cannot be written, the next process tries again."""
    text = json.dumps({"made_on": _machine(), "choices": found_choices()}, indent=1)
    with suppress(OutputError):
        make_folder(_file().parent)
        write_atomically(_file(), text.encode())


def _file() -> Path:
    return cache_folder() / "convolutions.json"


def _machine() -> dict[str, object]:
    versions = package_versions()
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **{name: versions.get(name) for name in ("torch", "numba", "atrous")},
    }
