"""The sizes of a run: of its crops, and of what the network is given when it predicts whole images."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from atrous.config import TrainConfig
from atrous.data.pixels import fits_data
from atrous.data.statistics import BandStatistics
from atrous.errors import ConfigError
from atrous.images import PixelKind
from atrous.origin import Origin
from atrous.preprocessing import Preprocessing

__all__ = ["Size", "choose_bands", "choose_crop", "choose_enlargement", "choose_preprocessing"]

Size = tuple[int, int]

USUAL_SHORT_SIDE = 520  # torchvision's reference recipe, and the size at which its weights were measured
LEAST_ENLARGED, MOST_ENLARGED = 1.15, 2.0
WHOLE_STRIDE = 16  # of crops and inputs: a multiple of the output strides that are trained
RGB_BANDS = 3
SHOWN_BANDS = 3
CROP_SIDE = {"cpu": 352, "cuda": 513, "mps": 513}


def choose_enlargement(config: TrainConfig, sizes: Sequence[Size], reasons: list[str]) -> float:
    """The factor by which predictions enlarge images: as asked, or so that small ones show their thin things.

    Crops of random scale show things larger than whole images do, so a network does better on images larger than it
    was trained with (Touvron et al. 2019, arXiv 1906.06423).
    """
    if config.enlarge is not None:
        if config.enlarge != 1:
            reasons.append(f"whole images are resized {config.enlarge:g} times before the network: as asked")
        return config.enlarge
    short = sorted(min(size) for size in sizes)[len(sizes) // 2]
    factor = round(min(USUAL_SHORT_SIDE / short, MOST_ENLARGED), 2)
    if factor < LEAST_ENLARGED:
        return 1.0
    reasons.append(
        f"whole images are enlarged {factor:g} times before the network: the middle one's short side has {short} pixels, "
        f"usual are {USUAL_SHORT_SIDE}; thin things gain, and prediction takes {factor**2:.1f} times as long "
        "(--set enlarge=1 leaves them)"
    )
    return factor


def choose_crop(config: TrainConfig, device: torch.device, sizes: Sequence[Size], reasons: list[str]) -> Size:
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


def choose_bands(config: TrainConfig, network: dict[str, Any], kind: PixelKind, reasons: list[str]) -> dict[str, Any]:
    """The network's keyword arguments with as many bands as the images have, whatever the weights were trained with.

    Raises:
        ConfigError: the settings ask for another number.
    """
    given = config.network.get("in_channels", kind.bands)
    if given != kind.bands:
        raise ConfigError(
            f"network.in_channels is {given}, but the images are read as {kind}; expected {kind.bands}. Leave the setting "
            "out, or say with --set bands=... how images are read."
        )
    if not kind.is_photo:
        reasons.append(f"the network reads {kind}, as the images are")
    if kind.bands == network.get("in_channels", RGB_BANDS):
        return network
    return {**network, "in_channels": kind.bands}


def choose_preprocessing(
    origin: Origin, kind: PixelKind, bands: BandStatistics | None, crop: Size, enlarge: float, reasons: list[str]
) -> Preprocessing:
    """That of the model file the weights come from, where it reads such images; else ImageNet's, or the data's own.

    Images enter at their own size, or enlarged.
    """
    given = _scaling(origin, kind, bands, reasons)
    plain = replace(given, resize="none", resize_to=None, resize_scale=None, pad_to=1)
    if bands is None and plain != Preprocessing():
        reasons.append("pixels are scaled as the weights' model file says, not by ImageNet's mean")
    plain = replace(plain, pad_to=_padding(crop, reasons))
    return plain if enlarge == 1 else replace(plain, resize="scale", resize_scale=enlarge)


def _scaling(origin: Origin, kind: PixelKind, bands: BandStatistics | None, reasons: list[str]) -> Preprocessing:
    given = origin.preprocessing
    if given is not None and fits_data(given, kind):
        return given
    if bands is None:
        return Preprocessing()
    scaled = bands.preprocessing
    shown = ", ".join(f"{low:g} to {high:g}" for low, high in (scaled.band_ranges or ())[:SHOWN_BANDS])
    more = ", ..." if scaled.bands > SHOWN_BANDS else ""
    reasons.append(
        f"pixels are scaled by each band's mean and deviation in {bands.summary}, and clipped far outside its 0.5th to "
        f"99.5th percentile ({shown}{more}); the model file keeps all of it"
    )
    if bands.constant:
        numbers = ", ".join(map(str, bands.constant))
        reasons.append(f"nothing can be learned from band {numbers}: one value only in the training images")
    return scaled


def _padding(crop: Size, reasons: list[str]) -> int:
    """What inputs are filled up to multiples of: the largest stride, if the crops are multiples of it too."""
    if all(side % WHOLE_STRIDE == 0 for side in crop):
        return WHOLE_STRIDE
    reasons.append(
        f"crop {crop[0]}x{crop[1]} is no multiple of {WHOLE_STRIDE}: "
        "whole images of other sizes stretch the network's maps otherwise than training did"
    )
    return 1
