"""From settings, data and machine to everything a run needs, each decision with its reason."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from atrous.config import TrainConfig
from atrous.data.samples import Dataset
from atrous.engines import choose_device
from atrous.errors import ConfigError, DataError
from atrous.foreign import FOREIGN_NETWORKS
from atrous.models.deeplab import NETWORKS, is_network
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing
from atrous.training.balance import class_weights
from atrous.transforms import Augmentation

__all__ = ["Facts", "Plan", "make_plan"]

Size = tuple[int, int]

LIGHT: Mapping[str, Any] = {"separable": True, "aspp_channels": 128, "decoder_channels": 128}
DEFAULT_MINUTES_CPU = 15.0
DEFAULT_IMAGES_GPU = 60_000  # views; about VOC's 30,000 steps at batch 16 scaled to fine-tuning
CROP_SIDE = {"cpu": 352, "cuda": 513, "mps": 513}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the plan needs to know of the training images: their sizes, and the pixels of every class."""

    sizes: Sequence[Size]
    class_pixels: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, decided. `reasons` are sentences for the user; `expected_steps` is exact for epochs, a guess for minutes."""

    config: TrainConfig
    device: torch.device
    model: str
    network: dict[str, Any]
    augmentation: Augmentation
    preprocessing: Preprocessing
    batch: int
    workers: int
    class_weights: tuple[float, ...] | None
    freeze_stem: bool
    expected_steps: int
    closing_seconds: float
    reasons: tuple[str, ...]


def make_plan(config: TrainConfig, dataset: Dataset, facts: Facts, origin: Origin) -> Plan:
    """Decide what `config` leaves open. `origin` is what the weights file tells of its network.

    Raises:
        ConfigError: settings that do not fit each other, the data or the machine.
        DataError: no training images.
    """
    samples = dataset.splits.get("train", ())
    if not samples:
        raise DataError(
            f"{dataset.root}: no training images (split 'train' is empty). Run `atrous check {dataset.root}`."
        )
    reasons: list[str] = []
    device = choose_device(config.device)
    reasons.append(f"device {device}: {_device_reason(config.device, device)}")
    model, network = _model(config, device, origin, reasons)
    batch = _batch(config, device, len(samples), reasons)
    config = _length(config, device, len(samples), reasons)
    crop = _crop(config, device, facts.sizes, reasons)
    weights = _class_weights(config, facts.class_pixels, reasons)
    freeze_stem = _freeze_stem(config, device, reasons)
    if config.epochs is not None:
        expected = max(1, math.ceil(config.epochs * len(samples) / batch))
    else:
        expected = max(1, round((config.minutes or 1) * 60 * (0.8 if device.type == "cpu" else 4)))
    workers = config.workers if config.workers is not None else _workers(device)
    reasons.append(
        f"images are read by {workers} processes of their own"
        if workers
        else "images are read in the training process: the cores are busy with the network anyway"
    )
    resolved = config.model_copy(
        update={
            "model": model,
            "network": network,
            "batch": batch,
            "crop": crop,
            "workers": workers,
            "freeze_stem": freeze_stem,
        }
    )
    return Plan(
        config=resolved,
        device=device,
        model=model,
        network={**network, "num_classes": dataset.labels.num_classes},
        augmentation=_augmentation(config, crop),
        preprocessing=_preprocessing(origin, reasons),
        batch=batch,
        workers=workers,
        class_weights=weights,
        freeze_stem=freeze_stem,
        expected_steps=expected,
        closing_seconds=6.0,
        reasons=tuple(reasons),
    )


def _augmentation(config: TrainConfig, crop: Size) -> Augmentation:
    return Augmentation(
        crop_size=crop,
        scale=config.scale,
        flip=config.flip,
        rotation=config.rotation,
        brightness=config.brightness,
        contrast=config.contrast,
        saturation=config.saturation,
        tint=config.tint,
    )


def _device_reason(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return "as asked"
    return "there is no GPU" if device.type == "cpu" else "a GPU is there"


def _model(config: TrainConfig, device: torch.device, origin: Origin, reasons: list[str]) -> tuple[str, dict[str, Any]]:
    """The network's name and keyword arguments."""
    network = dict(config.network)
    if config.output_stride is not None:
        network["output_stride"] = config.output_stride
    if config.model is not None:
        if not is_network(config.model) and config.model not in FOREIGN_NETWORKS:
            raise ConfigError(f"model {config.model!r} is not known; expected one of: {', '.join(NETWORKS)}.")
        reasons.append(f"model {config.model}: as asked")
        return config.model, network
    if origin.model is not None:
        reasons.append(f"model {origin.model}: the weights are of that network")
        return origin.model, {**origin.network, **network}
    if origin.backbone is not None:
        name, why = origin.backbone, "the weights are of that backbone"
    elif device.type == "cpu":
        name, why = "mobilenet_v2", "the lightest backbone, for training on a CPU"
    else:
        name, why = "resnet50", "a GPU can train it"
    if device.type == "cpu":
        network = {**LIGHT, **network}
        why += "; separable, 128 channels wide"
    reasons.append(f"model deeplabv3plus_{name}: {why}")
    return f"deeplabv3plus_{name}", network


def _batch(config: TrainConfig, device: torch.device, num_images: int, reasons: list[str]) -> int:
    if config.batch is not None:
        if config.batch > num_images:
            raise ConfigError(
                f"--batch {config.batch} is larger than the training set of {num_images} images; "
                f"expected at most {num_images}. Choose a smaller batch."
            )
        return config.batch
    usual = 8 if device.type == "cpu" else 16
    batch = min(usual, num_images)
    reasons.append(f"batch {batch}: " + ("the whole training set" if batch < usual else f"usual on {device.type}"))
    return batch


def _length(config: TrainConfig, device: torch.device, num_images: int, reasons: list[str]) -> TrainConfig:
    if config.epochs is not None or config.minutes is not None:
        return config
    if device.type == "cpu":
        reasons.append(f"{DEFAULT_MINUTES_CPU:g} minutes: neither --epochs nor --minutes was given")
        return config.model_copy(update={"minutes": DEFAULT_MINUTES_CPU})
    epochs = min(max(round(DEFAULT_IMAGES_GPU / num_images), 5), 200)
    reasons.append(f"{epochs} epochs: about {DEFAULT_IMAGES_GPU:,} views of {num_images:,} images")
    return config.model_copy(update={"epochs": epochs})


def _crop(config: TrainConfig, device: torch.device, sizes: Sequence[Size], reasons: list[str]) -> Size:
    """The crop, (height, width): as asked, or of the images' shape with the usual number of pixels."""
    largest = (max(height for height, _ in sizes), max(width for _, width in sizes))
    if config.crop is not None:
        reach = (round(largest[0] * config.scale[1]), round(largest[1] * config.scale[1]))
        if config.crop[0] > reach[0] and config.crop[1] > reach[1]:
            raise ConfigError(
                f"--crop {config.crop[0]} {config.crop[1]} is larger than every image (the largest is "
                f"{largest[0]}x{largest[1]}, at most {reach[0]}x{reach[1]} when scaled up {config.scale[1]:g} times); "
                f"the rest would be void. Give at most --crop {reach[0]} {reach[1]}."
            )
        return config.crop
    middle = sorted(sizes, key=lambda size: size[0] * size[1])[len(sizes) // 2]
    side = CROP_SIDE.get(device.type, 513)
    shrink = min(1.0, side / math.sqrt(middle[0] * middle[1]))
    height, width = (max(32, round(length * shrink / 16) * 16) for length in middle)
    reasons.append(
        f"crop {height}x{width}: the shape of the middle image ({middle[0]}x{middle[1]}), "
        f"at most about {side}x{side} pixels on {device.type}"
    )
    return height, width


def _preprocessing(origin: Origin, reasons: list[str]) -> Preprocessing:
    """That of the model file the weights come from, else ImageNet's; images enter at their own size."""
    if origin.preprocessing is None:
        return Preprocessing()
    if origin.preprocessing != Preprocessing():
        reasons.append("pixels are scaled as the weights' model file says, not by ImageNet's mean")
    return replace(origin.preprocessing, resize="none", resize_to=None)


def _freeze_stem(config: TrainConfig, device: torch.device, reasons: list[str]) -> bool:
    """As asked; else on a CPU, where it nearly halves a step, if there are pretrained weights to keep."""
    if config.freeze_stem is not None:
        return config.freeze_stem
    if config.freeze != "none" or device.type != "cpu" or config.weights == "none":
        return False
    reasons.append(
        "the backbone up to stride 4 keeps its pretrained weights: nearly twice the steps in the same time on a CPU"
    )
    return True


def _class_weights(config: TrainConfig, pixels: Sequence[int], reasons: list[str]) -> tuple[float, ...] | None:
    if config.class_weights == "none":
        return None
    weights = class_weights(pixels)
    reasons.append(
        f"class weights {min(weights):.2f} to {max(weights):.2f}: by one over the root of each class's share of pixels; "
        f"{config.untilt:.0%} of their tilt is taken back from the finished model"
    )
    return weights


def _workers(device: torch.device) -> int:
    cores = os.cpu_count() or 1
    if device.type == "cpu":
        return 0 if cores <= 4 else 2
    return max(1, min(8, cores - 1))
