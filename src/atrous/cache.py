"""The cache folder: where fetched files are kept between runs."""

import os
import sys
import tempfile
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Where downloaded files are kept: $ATROUS_CACHE, or the system's folder for such files. It may not exist yet.

    Without a home folder it is in the system's folder for temporary files.
    """
    chosen = os.environ.get("ATROUS_CACHE")
    if chosen:
        return Path(chosen).absolute()
    try:
        home = Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / "atrous-cache"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "atrous" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "atrous"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "atrous"
