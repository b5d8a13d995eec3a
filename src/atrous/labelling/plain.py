"""The plain computations, with every score at full size, and where torch reads between the coarse scores.

What the other files of this package give equals what these give. Shape letters: K classes, h, w of the coarse logits,
H, W of the result; sizes are (height, width) in pixels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = [
    "WHOLE",
    "Coordinates",
    "averaged",
    "coordinates",
    "factors",
    "label_map",
    "label_map_and_confidence",
    "label_type",
    "probabilities",
    "resized",
    "thresholded",
]

WHOLE = (1.0, 1.0)  # the image fills all of the coarse map
ROUNDING = 1e-9  # a last row must not be lost because a product of two roundings is just below a whole number

LabelMap = NDArray[np.uint8 | np.uint16]


class Coordinates(NamedTuple):
    """Where each of `new_size` places along an axis reads: value = (1 - weight) * v[low] + weight * v[high]."""

    low: NDArray[np.int32]  # (new_size,)
    high: NDArray[np.int32]  # (new_size,), low or low + 1
    weight: NDArray[np.float32]  # (new_size,), 0 to 1


def coordinates(size: int, new_size: int, *, align_corners: bool = False, factor: float | None = None) -> Coordinates:
    """Torch's bilinear rule along one axis, in float32 as torch computes it, so that the weights are torch's own.

    With a `factor` the `size` positions are enlarged by it, not to `new_size`; of the pixels these are the first.

    Torch's compiled code multiplies and subtracts in one rounding (a fused operation), which float64 imitates: the
    product of two float32 numbers is exact there. With two roundings most sizes give some weights that differ.
    """
    whole = new_size if factor is None else int(size * factor)
    if size == whole:
        low = np.arange(new_size, dtype=np.int32)
        return Coordinates(low, low, np.zeros(new_size, np.float32))
    place = np.arange(new_size, dtype=np.float32)
    if align_corners:
        scale = np.float32(size - 1) / np.float32(whole - 1) if whole > 1 else np.float32(0)
        source = place * scale
    else:
        scale = np.float32(size) / np.float32(whole) if factor is None else np.float32(1 / factor)
        exact = (place + np.float32(0.5)).astype(np.float64) * np.float64(scale) - 0.5
        source = np.maximum(exact.astype(np.float32), np.float32(0))
    low = np.minimum(source.astype(np.int32), np.int32(size - 1))
    weight = np.clip(source - low.astype(np.float32), np.float32(0), np.float32(1))
    return Coordinates(low, np.minimum(low + np.int32(1), np.int32(size - 1)), weight)


def factors(size: tuple[int, ...], new_size: tuple[int, int], cover: tuple[float, float]) -> tuple[float, float] | None:
    """How far the coarse map (h, w) is enlarged where the image fills only a part of it; None where it fills all."""
    if cover == WHOLE:
        return None
    across = [
        length / share / positions * (1 + ROUNDING)
        for positions, length, share in zip(size, new_size, cover, strict=True)
    ]
    return across[0], across[1]


def label_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of a label map: uint8, uint16 above 256 classes."""
    return np.uint8 if num_classes <= 256 else np.uint16


def resized(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> Tensor:
    """All scores at full size: (K, H, W) float32, of coarse logits (1, K, h, w).

    `cover` is the share of the map's height and width, from the top left, that the image fills; the rest lies over what
    the network's input was filled up with, and is cut off.
    """
    enlarged = factors(coarse.shape[2:], size, cover)
    if enlarged is None:
        return functional.interpolate(coarse.float(), size=size, mode="bilinear", align_corners=align_corners)[0]
    whole = functional.interpolate(
        coarse.float(),
        scale_factor=enlarged,
        mode="bilinear",
        align_corners=align_corners,
        recompute_scale_factor=False,
    )
    return whole[0, :, : size[0], : size[1]]


def probabilities(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> Tensor:
    """The softmax of all scores at full size: (K, H, W) float32, of coarse logits (1, K, h, w)."""
    return resized(coarse, size, align_corners=align_corners, cover=cover).softmax(dim=0)


def label_map(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> LabelMap:
    """The class with the highest score of every pixel: (H, W) uint8, uint16 above 256 classes."""
    best = resized(coarse, size, align_corners=align_corners, cover=cover).argmax(dim=0)
    return best.cpu().numpy().astype(label_type(coarse.shape[1]))


def label_map_and_confidence(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> tuple[LabelMap, NDArray[np.float32]]:
    """The label map (H, W), and the probability (H, W) float32 of the class that it names."""
    confidence, best = probabilities(coarse, size, align_corners=align_corners, cover=cover).max(dim=0)
    return best.cpu().numpy().astype(label_type(coarse.shape[1])), confidence.cpu().numpy()


def thresholded(
    coarse: Tensor,
    size: tuple[int, int],
    thresholds: Sequence[float],
    *,
    void: int = 255,
    align_corners: bool = False,
    cover: tuple[float, float] = WHOLE,
) -> LabelMap:
    """The most probable class among those whose probability reaches their threshold, `void` where none does: (H, W)."""
    shares = probabilities(coarse, size, align_corners=align_corners, cover=cover)
    limits = torch.tensor(thresholds, dtype=torch.float32, device=shares.device)[:, None, None]
    highest, best = shares.where(shares >= limits, -1.0).max(dim=0)
    label_map = best.masked_fill(highest < 0, void)
    return label_map.cpu().numpy().astype(label_type(max(coarse.shape[1], void + 1)))


def averaged(
    coarse: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool] | None = None,
    align_corners: bool = False,
    covers: Sequence[tuple[float, float]] | None = None,
) -> LabelMap:
    """The best class (H, W) of the mean probabilities of several views' logits, each (1, K, h', w').

    Views that saw the image mirrored left to right (`flipped`) are mirrored back at full size.
    """
    total: Tensor | None = None
    mirrored, parts = flipped or [False] * len(coarse), covers or [WHOLE] * len(coarse)
    for view, mirror, cover in zip(coarse, mirrored, parts, strict=True):
        shares = probabilities(view, size, align_corners=align_corners, cover=cover)
        shares = shares.flip(2) if mirror else shares
        total = shares if total is None else total + shares
    assert total is not None
    return total.argmax(dim=0).cpu().numpy().astype(label_type(total.shape[0]))
