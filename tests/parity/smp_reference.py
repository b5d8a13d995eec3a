"""Imports segmentation_models.pytorch, after torchvision was made to import, or skips, saying so.

`pip install --no-deps segmentation_models_pytorch timm huggingface_hub tqdm` keeps it from replacing torch.
"""

import importlib
import importlib.util
import warnings

import pytest
import torchvision_reference  # makes torchvision importable, or skips
from torch import nn

for _name in ("segmentation_models_pytorch", "timm", "huggingface_hub", "tqdm"):
    if importlib.util.find_spec(_name) is None:
        pytest.skip(
            f"{_name} is not installed, so parity with segmentation_models.pytorch is not tested: "
            "pip install --no-deps segmentation_models_pytorch timm huggingface_hub tqdm",
            allow_module_level=True,
        )
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        smp = importlib.import_module("segmentation_models_pytorch")
except ImportError as error:  # huggingface_hub has dependencies of its own
    pytest.skip(
        f"segmentation_models.pytorch does not import ({error}), so parity with it is not tested",
        allow_module_level=True,
    )

__all__ = ["smp", "smp_network", "torchvision_reference"]


def smp_network(version: str, encoder: str, *, output_stride: int, classes: int = 21, **settings: object) -> nn.Module:
    """Its DeepLabV3 or DeepLabV3Plus with random weights."""
    return getattr(smp, version)(
        encoder, encoder_weights=None, encoder_output_stride=output_stride, classes=classes, **settings
    )
