"""Recipes: named sets of training settings, each with its source and what it is good for.

A recipe changes the defaults that `atrous.config.TrainConfig` describes; what the user sets overrides both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a recipe sets, where it comes from, and what it is good for."""

    good_for: str
    source: str
    settings: Mapping[str, Any]


AUTO = Recipe(
    good_for="fine-tuning on your own images, from minutes on a laptop to hours on a GPU",
    # AdamW converges in far fewer steps than SGD; class weights lift rare, thin classes, and what they tilt is taken back
    # in the finished model; the running mean takes the place of a long tail of small rates.
    source="ours; docs/decisions/0006-default-recipe.md has what every part gave",
    settings={"class_weights": "balanced"},
)

CLASSIC = Recipe(
    good_for="a baseline in a few minutes, a handful of images, comparing with the tutorials",
    # A pretrained DeepLabv3-ResNet-101, all but the last layer frozen, cross entropy, Adam at 0.001, ten epochs, and the
    # loss on the test images.
    source="countless tutorials",
    settings={
        "model": "deeplabv3_resnet101",
        "freeze": "all-but-last",
        "views": 1,
        "enlarge": 1.0,
        "tune_images": 0,
        "epochs": 10,
        "optimizer": "adam",
        "rate": 0.001,
        "head_factor": 1.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "average": False,
        "scale": (1.0, 1.0),
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "tint": 0.0,
        "test_at_end": True,
    },
)

PAPER = Recipe(
    good_for="the published numbers: VOC-sized data, a GPU, days",
    # Stage 1: stride 16, batch norm trained, rate 0.007. Stage 2: from there at stride 8, batch norm frozen, rate 0.001,
    # as many steps again. 46 epochs are 30,000 steps of 16 on the 10,582 images of VOC's trainaug. Network of table 5
    # (multi-grid 1, 2, 4; image pooling); weight decay of the code for ResNets. The paper's crops of 513 belong to grids
    # with aligned corners; ours have half-pixel centres, where whole strides fit 512.
    source="DeepLabv3, arXiv 1706.05587, sections 4 and 4.1; tensorflow/models research/deeplab",
    settings={
        "model": "deeplabv3_resnet101",
        "network": {"multi_grid": (1, 2, 4), "extra_conv": False},
        "output_stride": 16,
        "epochs": 92,
        "batch": 16,
        "crop": (512, 512),
        "optimizer": "sgd",
        "rate": 0.007,
        "head_factor": 1.0,
        "weight_decay": 1e-4,
        "warmup": 0.0,
        "average": False,
        "second_stage": 0.5,
        "second_stride": 8,
        "second_rate": 0.001,
        "freeze_stem": False,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "tint": 0.0,
    },
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({"auto": AUTO, "classic": CLASSIC, "paper": PAPER})
