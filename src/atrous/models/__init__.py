"""Networks: DeepLabv3 and DeepLabv3+ over every backbone, plain `torch.nn.Module`s with logits (N, K, H, W).

`atrous.models.deeplabv3_resnet101(num_classes=21, output_stride=8)`, or by name: `build("deeplabv3_resnet101", ...)`.
`Settings` documents the keyword arguments that all of them take.
"""

from atrous.models.complexity import count_multiply_adds, count_parameters
from atrous.models.deeplab import (
    NETWORKS,
    DeepLab,
    build,
    deeplabv3_mobilenet_v2,
    deeplabv3_mobilenet_v3_large,
    deeplabv3_resnet18,
    deeplabv3_resnet34,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
    deeplabv3_xception65,
    deeplabv3plus_mobilenet_v2,
    deeplabv3plus_mobilenet_v3_large,
    deeplabv3plus_resnet18,
    deeplabv3plus_resnet34,
    deeplabv3plus_resnet50,
    deeplabv3plus_resnet101,
    deeplabv3plus_xception65,
    is_network,
)
from atrous.models.settings import Settings

__all__ = [
    "NETWORKS",
    "DeepLab",
    "Settings",
    "build",
    "count_multiply_adds",
    "count_parameters",
    "deeplabv3_mobilenet_v2",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet18",
    "deeplabv3_resnet34",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_xception65",
    "deeplabv3plus_mobilenet_v2",
    "deeplabv3plus_mobilenet_v3_large",
    "deeplabv3plus_resnet18",
    "deeplabv3plus_resnet34",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet101",
    "deeplabv3plus_xception65",
    "is_network",
]
