"""Imports torchvision beside a CPU-only torch, and builds its DeepLab networks as the reference.

torchvision's wheel is a CUDA build. Beside a CPU-only torch its compiled extension does not load, and the import fails
because it describes operators that the extension would have registered. The networks use none of them: declaring their
names before the import is enough. Install it without its dependencies, which would replace torch:
`pip install --no-deps torchvision==0.28.0`.
"""

import importlib
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

# The operators that torchvision's Python code describes at import.
DESCRIBED_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor a) -> Tensor",
    "_roi_align_backward(Tensor a) -> Tensor",
    "ps_roi_align(Tensor a) -> Tensor",
    "_ps_roi_align_backward(Tensor a) -> Tensor",
    "roi_pool(Tensor a) -> Tensor",
    "_roi_pool_backward(Tensor a) -> Tensor",
    "ps_roi_pool(Tensor a) -> Tensor",
    "_ps_roi_pool_backward(Tensor a) -> Tensor",
    "qroi_align(Tensor a) -> Tensor",
    "deform_conv2d(Tensor a) -> Tensor",
    "_deform_conv2d_backward(Tensor a) -> Tensor",
)

_package = importlib.util.find_spec("torchvision")
if _package is None or _package.origin is None:
    pytest.skip(
        "torchvision is not installed, so parity with it is not tested: pip install --no-deps torchvision==0.28.0",
        allow_module_level=True,
    )


def _extension_loads(folder: Path) -> bool:
    """Whether torchvision's compiled extension fits this torch (it then registers the operators itself)."""
    for extension in [*folder.glob("_C*.so"), *folder.glob("_C*.pyd")]:
        try:
            torch.ops.load_library(extension)
        except OSError:
            return False
        return True
    return False


_library = torch.library.Library("torchvision", "FRAGMENT")  # the declarations live as long as this object
if not _extension_loads(Path(_package.origin).parent):
    for _operator in DESCRIBED_OPERATORS:
        _library.define(_operator)
segmentation = importlib.import_module("torchvision.models.segmentation")


def reference_network(name: str, *, num_classes: int = 21, auxiliary: bool = False) -> nn.Module:
    """torchvision's network with its own random weights; returns a dict with "out" and perhaps "aux"."""
    builder = getattr(segmentation, name)
    return builder(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=auxiliary)
