"""Whether an image is computed as a whole or by windows, and by how large ones."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from atrous.errors import ConfigError
from atrous.models.deeplab import DeepLab
from atrous.tiling.blended import STEP
from atrous.tiling.parts import can_be_parted

__all__ = ["Means", "Tiles", "bytes_per_pixel", "choose_tiles", "parse_tile", "why_blended"]

Means = Literal["image", "window"]

MOST_BYTES = 1 << 30
"""What computing one image may take before it is computed by windows, where that much and as much again is free."""
WINDOW_BYTES = 400 << 20  # what one window may take
WINDOW_SIDES = (256, 2048)  # smaller ones would be all margin, larger ones gain nothing


@dataclass(frozen=True)
class Tiles:
    """Windows of `window` pixels a side; `stitched` or else blended; the `reason` is a sentence for the user."""

    window: int
    stitched: bool
    reason: str


def parse_tile(text: str) -> str | int:
    """`auto`, `off`, or a number of pixels.

    Raises:
        ConfigError: something else.
    """
    if text in ("auto", "off"):
        return text
    if not text.isdecimal() or int(text) < WINDOW_SIDES[0]:
        raise ConfigError(
            f"--tile {text}: expected auto, off, or the side of the windows in pixels, {WINDOW_SIDES[0]} or more."
        )
    return int(text)


def why_blended(network: nn.Module, *, engine: str, means: Means) -> str | None:
    """None where windows can be stitched, else why they are blended."""
    if means == "window":
        return "means of each window's own were asked for"
    return can_be_parted(network) if engine in ("torch", "plain") else f"engine {engine} runs a whole network"


def choose_tiles(
    network: nn.Module,
    size: tuple[int, int],
    *,
    tile: str | int,
    cost: float,
    available: int,
    engine: str,
    means: Means = "image",
) -> Tiles | None:
    """How an image of `size` (height, width) as the network reads it is cut; None for not at all.

    Args:
        network: in any mode.
        size: of the network's input, in pixels.
        tile: auto, off, or the side of windows in pixels.
        cost: bytes a pixel that the network's maps take, from `bytes_per_pixel`.
        available: bytes of memory that are free.
        engine: a converted file is run by blended windows, as it cannot be parted.
        means: "window" asks for blended windows, each an image of its own.
    """
    if tile == "off":
        return None
    reason = why_blended(network, engine=engine, means=means)
    how = "stitched with the whole image's means" if reason is None else f"blended, as {reason}"
    if isinstance(tile, int):
        side = max(STEP, tile // STEP * STEP)
        return None if max(size) <= side else Tiles(side, reason is None, f"windows of {side} pixels as asked, {how}")
    needed, limit = cost * size[0] * size[1], min(MOST_BYTES, available // 2)
    if needed <= limit:
        return None
    side = int((min(WINDOW_BYTES, limit) / cost) ** 0.5) // STEP * STEP
    side = min(max(side, WINDOW_SIDES[0]), WINDOW_SIDES[1])
    if max(size) <= side:
        return None
    return Tiles(
        side,
        reason is None,
        f"windows of {side} pixels, {how}, because {size[0]}x{size[1]} pixels at once would take about "
        f"{needed / 1e9:.1f} GB of memory, more than {limit / 1e9:.1f}",
    )


@torch.inference_mode()
def bytes_per_pixel(network: nn.Module, bands: int) -> float:
    """About how many bytes a network's maps take at most at a time, for each pixel of its input.

    That is what a layer reads and writes, and half as much again: a residual, or a map that was not yet given back.
    """
    most = 0
    side = 128

    def note(layer: nn.Module, given: tuple[object, ...], result: object) -> None:
        nonlocal most
        tensors = [value for value in (*given, result) if isinstance(value, torch.Tensor)]
        most = max(most, sum(value.numel() for value in tensors) * 4)

    leaves = [layer for layer in network.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    modes = [(layer, layer.training) for layer in network.modules()]
    try:
        network.eval()
        image = torch.zeros(1, bands, side, side, device=next(network.parameters()).device)
        network.coarse_logits(image) if isinstance(network, DeepLab) else network(image)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes:
            layer.training = training
    return 1.5 * most / (side * side)
