"""Semantic segmentation with DeepLabv3 and DeepLabv3+: check the data, fine-tune, measure honestly, ship.

Importing this package is light: torch is imported when a name that needs it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from atrous.version import __version__

if TYPE_CHECKING:
    from atrous import models
    from atrous.api import Run, evaluate, train
    from atrous.evaluation import Report
    from atrous.labels import Labels
    from atrous.prediction import Model, Prediction, load

__all__ = [
    "Labels",
    "Model",
    "Prediction",
    "Report",
    "Run",
    "__version__",
    "evaluate",
    "load",
    "models",
    "train",
]

_HOMES = {
    "Labels": "atrous.labels",
    "Model": "atrous.prediction",
    "Prediction": "atrous.prediction",
    "Report": "atrous.evaluation",
    "Run": "atrous.api",
    "evaluate": "atrous.api",
    "load": "atrous.prediction",
    "train": "atrous.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "models":
        return importlib.import_module("atrous.models")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'atrous' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
