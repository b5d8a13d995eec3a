"""Noise and patterns that surfaces are made of, as brightness (H, W) uint8.

Every value comes from integer draws and elementwise IEEE arithmetic (no transcendental functions, no float reductions),
so that a texture has the same bytes on every machine. Tiles are built once and cropped at random places.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "clip", "courses", "crop", "darken", "noise", "profile"]

Field = NDArray[np.uint8]

TILE = 512  # pixels after which noise repeats


def clip(values: NDArray[np.floating]) -> Field:
    """Brightness as bytes: cut to 0-255, the fraction dropped."""
    return np.clip(values, 0, 255).astype(np.uint8)


def _lattice(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Left neighbour, right neighbour and smooth weight of every tile pixel on a lattice of `count` wrapping points."""
    position = np.arange(TILE, dtype=np.float64) * count / TILE
    left = position.astype(np.intp)
    weight = position - left
    return left, (left + 1) % count, (weight * weight * (3 - 2 * weight)).astype(np.float32)


def _octave(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float32]:
    values = rng.integers(0, 256, (rows, columns)).astype(np.float32)
    top, bottom, down = _lattice(rows)
    left, right, across = _lattice(columns)
    wide = values[:, left] + (values[:, right] - values[:, left]) * across
    return (wide[top] + (wide[bottom] - wide[top]) * down[:, None]).astype(np.float32)


def darken(brightness: Field, shade: Field) -> Field:
    """Brightness less shade, 0 at least."""
    return np.maximum(brightness, shade) - shade


@lru_cache(maxsize=64)
def noise(cell: int, *, stretch: int = 1, octaves: int = 1) -> Field:
    """Value noise (1024, 1024) that repeats after 512 pixels, so that crops of up to 512 need no wrapping.

    Args:
        cell: Size of the largest blobs, in pixels.
        stretch: How many times wider than high the blobs are.
        octaves: Layers of noise, each with half the size and half the strength of the one before.
    """
    rng = np.random.default_rng([cell, stretch, octaves])
    total = np.zeros((TILE, TILE), np.float32)
    strength = 1.0
    for octave in range(octaves):
        size = max(1, cell >> octave)
        total += np.float32(strength) * _octave(rng, max(2, TILE // size), max(2, TILE // (size * stretch)))
        strength /= 2
    low, high = total.min(), total.max()
    return np.tile(((total - low) * (np.float32(255) / (high - low))).astype(np.uint8), (2, 2))


@lru_cache(maxsize=128)
def courses(height: int, width: int, *, joint: int = 1, shift: bool = True) -> Field:
    """Laid courses (about 1024, about 1024): bricks, roof tiles, boards. They repeat after half of it.

    Args:
        height: Of one brick with its joint, in pixels.
        width: Of one brick with its joint, in pixels.
        joint: Thickness of the darker joint, in pixels.
        shift: Whether every second course starts half a brick later.
    """
    rows, columns = max(2, TILE // height // 2 * 2), max(1, TILE // width)
    rng = np.random.default_rng([height, width, joint, shift])
    bricks = rng.integers(125, 195, (rows, columns)).astype(np.uint8)
    y, x = np.arange(rows * height)[:, None], np.arange(columns * width)[None]
    moved = x + (y // height % 2) * (width // 2 if shift else 0)
    tile = bricks[y // height, moved // width % columns]
    tile[(y % height < joint) | (moved % width < joint)] = 80
    return np.tile(tile, (2, 2))


def crop(tile: Field, height: int, width: int, rng: np.random.Generator) -> Field:
    """A piece (height, width) of `noise` or `courses` from a random place."""
    top, left = (int(rng.integers(0, side // 2)) for side in tile.shape)
    if top + height <= tile.shape[0] and left + width <= tile.shape[1]:
        return tile[top : top + height, left : left + width]
    rows = (np.arange(height) + top) % tile.shape[0]
    columns = (np.arange(width) + left) % tile.shape[1]
    return tile[rows[:, None], columns]


def profile(width: int, cell: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random line of `width` values in 0-1 that turns about every `cell` pixels."""
    values = rng.random(width // max(1, cell) + 2).astype(np.float32)
    position = np.arange(width, dtype=np.float32) / np.float32(max(1, cell))
    left = position.astype(np.intp)
    weight = position - left
    weight = weight * weight * (3 - 2 * weight)
    return (values[left] + (values[left + 1] - values[left]) * weight).astype(np.float32)
