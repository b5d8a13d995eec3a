"""From settings, data and machine to everything a run needs, each decision with its reason."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atrous.catalogue import find_published
from atrous.config import LENGTHS, TrainConfig
from atrous.data.rare import RareClasses, find_rare
from atrous.data.samples import Dataset
from atrous.data.statistics import BandStatistics
from atrous.engines import choose_device
from atrous.errors import ConfigError, DataError
from atrous.foreign import FOREIGN_NETWORKS
from atrous.images import PixelKind
from atrous.models.deeplab import NETWORKS, is_network
from atrous.models.timm_backbone import PREFIX
from atrous.origin import KINDS, Origin
from atrous.preprocessing import Preprocessing
from atrous.training.balance import class_weights, median_weights
from atrous.training.keeping import Keeping, choose_keeping
from atrous.training.norm_policy import Start, choose_norms
from atrous.training.sizes import Size, choose_bands, choose_crop, choose_enlargement, choose_preprocessing
from atrous.training.stages import Stage, stages_of
from atrous.transforms import Augmentation

__all__ = ["Facts", "Plan", "make_plan"]


KNOWN_BANDS = (1, 3)  # that weights made for RGB answer as they would to a photograph, grey or in colour
FOR_RGB = ("saturation", "tint", "jpeg")  # settings
LIGHT: Mapping[str, Any] = {"separable": True, "aspp_channels": 128, "decoder_channels": 128}
DEFAULT_MINUTES_CPU = 15.0
DEFAULT_IMAGES_GPU = 60_000  # views; about VOC's 30,000 steps at batch 16 scaled to fine-tuning


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the plan needs to know of the training images.

    Their sizes, the pixels of every class, which image holds which class, (images, K) bool, and what their bands hold
    where they are not RGB and the weights do not say how they are scaled.
    """

    sizes: Sequence[Size]
    class_pixels: Sequence[int]
    presence: NDArray[np.bool_]
    bands: BandStatistics | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, decided. `reasons` are sentences for the user; `expected_steps` is a guess only where minutes are given.

    `config` has what was decided filled in, so that it gives this plan again, together with `start`: what the weights
    fill. `network` are the arguments that build the network of the first stage.
    """

    config: TrainConfig
    device: torch.device
    model: str
    network: dict[str, Any]
    start: Start
    augmentation: Augmentation
    preprocessing: Preprocessing
    batch: int
    workers: int
    class_weights: tuple[float, ...] | None
    rare: RareClasses | None
    freeze_stem: bool
    stages: tuple[Stage, ...]
    keeping: Keeping
    expected_steps: int
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
    network = choose_bands(config, network, dataset.pixels, reasons)
    batch = _batch(config, device, len(samples), reasons)
    config = _length(config, device, len(samples), reasons)
    enlarge = choose_enlargement(config, facts.sizes, reasons)
    crop = choose_crop(config, device, facts.sizes, reasons)
    weights = _class_weights(config, facts.class_pixels, reasons)
    rare = _rare(config, facts, dataset, reasons)
    freeze_stem = _freeze_stem(config, device, dataset.pixels, reasons)
    start = _start(config, model, origin)
    normed, norms = choose_norms(
        config.batch_norm,
        network=network,
        start=start,
        part=math.ceil(batch / min(config.accumulate, batch)),
        can_group=PREFIX not in model,
        reasons=reasons,
    )
    keeping = choose_keeping(config, model, normed, crop=crop, num_images=len(samples), reasons=reasons)
    stages = stages_of(config, norms)
    if len(stages) > 1:
        reasons.append(
            f"the last {config.second_stage:.0%} of the run at output stride {config.second_stride}, rate "
            f"{config.second_rate:g}, with frozen batch norm: the second stage of the DeepLabv3 paper"
        )
    expected = _expected_steps(config, device, len(samples), batch)
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
            "enlarge": enlarge,
            "workers": workers,
            "freeze_stem": freeze_stem,
            "views": keeping.views,
        }
    )
    return Plan(
        config=resolved,
        device=device,
        model=model,
        network={**normed, "num_classes": dataset.labels.num_classes},
        start=start,
        augmentation=_augmentation(config, crop, dataset.pixels, reasons),
        preprocessing=choose_preprocessing(origin, dataset.pixels, facts.bands, crop, enlarge, reasons),
        batch=batch,
        workers=workers,
        class_weights=weights,
        rare=rare,
        freeze_stem=freeze_stem,
        stages=stages,
        keeping=keeping,
        expected_steps=expected,
        reasons=tuple(reasons),
    )


def _augmentation(config: TrainConfig, crop: Size, kind: PixelKind, reasons: list[str]) -> Augmentation:
    left_out = [] if kind.is_photo else [name for name in FOR_RGB if getattr(config, name)]
    if left_out:
        reasons.append(f"{', '.join(left_out)} are left out of the augmentation: they are for RGB images")
    config = config.model_copy(update=dict.fromkeys(left_out, 0.0))
    return Augmentation(
        crop_size=crop,
        scale=config.scale,
        flip=config.flip,
        rotation=config.rotation,
        brightness=config.brightness,
        contrast=config.contrast,
        saturation=config.saturation,
        tint=config.tint,
        blur=config.blur,
        jpeg=config.jpeg,
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
    if any(getattr(config, name) is not None for name in LENGTHS):
        return config
    if device.type == "cpu":
        reasons.append(f"{DEFAULT_MINUTES_CPU:g} minutes: neither --epochs nor --minutes was given")
        return config.model_copy(update={"minutes": DEFAULT_MINUTES_CPU})
    epochs = min(max(round(DEFAULT_IMAGES_GPU / num_images), 5), 200)
    reasons.append(f"{epochs} epochs: about {DEFAULT_IMAGES_GPU:,} views of {num_images:,} images")
    return config.model_copy(update={"epochs": epochs})


def _freeze_stem(config: TrainConfig, device: torch.device, kind: PixelKind, reasons: list[str]) -> bool:
    """As asked; else on a CPU, where it nearly halves a step, if there are pretrained weights that know such images."""
    if config.weights != "none" and kind.bands not in KNOWN_BANDS:
        frozen = config.freeze_stem or config.freeze != "none" or config.freeze_until is not None
        what = "is frozen with the rest, and" if frozen else "is trained too: it"
        reasons.append(f"the first convolution, adapted to {kind.bands} bands, {what} knows nothing yet of these bands")
        return bool(config.freeze_stem)
    if config.freeze_stem is not None:
        return config.freeze_stem
    if config.freeze != "none" or config.freeze_until is not None or device.type != "cpu" or config.weights == "none":
        return False
    reasons.append(
        "the backbone up to stride 4 keeps its pretrained weights: nearly twice the steps in the same time on a CPU"
    )
    return True


def _class_weights(config: TrainConfig, pixels: Sequence[int], reasons: list[str]) -> tuple[float, ...] | None:
    if config.class_weights == "none":
        return None
    balanced = config.class_weights == "balanced"
    weights = class_weights(pixels) if balanced else median_weights(pixels)
    rule = "one over the root of each class's share" if balanced else "the median class's share over each class's share"
    reasons.append(
        f"class weights {min(weights):.2f} to {max(weights):.2f}: by {rule} of pixels; "
        f"{config.untilt:.0%} of their tilt is taken back from the finished model"
    )
    return weights


def _rare(config: TrainConfig, facts: Facts, dataset: Dataset, reasons: list[str]) -> RareClasses | None:
    """The rare classes, where crops are laid on them or they are pasted."""
    if not config.rare_crops and not config.paste:
        return None
    rare = find_rare(np.asarray(facts.class_pixels, np.int64), facts.presence)
    uses = {"crops are laid on them": config.rare_crops, "they are pasted into views": config.paste}
    what = ", ".join(f"{share:.0%} of {use}" if share else "" for use, share in uses.items() if share)
    if rare is None:
        reasons.append(f"no class is rare (under half of an even share of the pixels), so none is favoured ({what})")
        return None
    names = [name for name, chance in zip(dataset.labels.names, rare.chances, strict=True) if chance]
    reasons.append(f"rare classes ({', '.join(names)}): under half of an even share of the pixels; {what}")
    return rare


def _start(config: TrainConfig, model: str, origin: Origin) -> Start:
    """What of the network the weights fill."""
    if config.weights == "none":
        return "nothing"
    if config.weights in KINDS:
        published = find_published(model, kind=KINDS[config.weights])  # pyright: ignore[reportArgumentType]
        return "backbone" if published is None else published.kind
    return "network" if origin.model == model else "backbone"


def _expected_steps(config: TrainConfig, device: torch.device, num_images: int, batch: int) -> int:
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, math.ceil(config.epochs * num_images / batch))
    return max(1, round((config.minutes or 1) * 60 * (0.8 if device.type == "cpu" else 4)))


def _workers(device: torch.device) -> int:
    cores = os.cpu_count() or 1
    if device.type == "cpu":
        return 0 if cores <= 4 else 2
    return max(1, min(8, cores - 1))
