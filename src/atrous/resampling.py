"""A rectangle of a resized image, from the rectangle of the image that it needs: for images too large to resize whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Read", "resized_part", "taps"]

Read = Callable[[slice, slice], NDArray[Any]]


def taps(size: int, new_size: int, wanted: slice) -> tuple[slice, NDArray[np.int64], NDArray[np.float32]]:
    """What positions `wanted` of an axis resized from `size` to `new_size` read, bilinear with antialiasing.

    The filter is a triangle that reaches one step of the coarser of the two grids, as Pillow and torch have it.

    Returns:
        The slice of the axis that is read, and for each wanted position the indices within it and their weights, both
        (positions, taps); weights of a position sum to 1.
    """
    scale = size / new_size
    reach = max(1.0, scale)
    centre = (np.arange(wanted.start, wanted.stop) + 0.5) * scale
    count = int(np.ceil(2 * reach)) + 1
    first = np.floor(centre - reach + 0.5).astype(np.int64)
    index = first[:, None] + np.arange(count)
    weight = np.clip(1 - np.abs((index + 0.5 - centre[:, None]) / reach), 0, None)
    weight[(index < 0) | (index >= size)] = 0
    weight /= weight.sum(axis=1, keepdims=True)
    index = np.clip(index, 0, size - 1)
    seen = slice(int(index.min()), int(index.max()) + 1)
    return seen, index - seen.start, weight.astype(np.float32)


def resized_part(
    read: Read, size: tuple[int, int], new_size: tuple[int, int], rows: slice, columns: slice
) -> NDArray[Any]:
    """Rows and columns of an image (H, W, bands) resized to `new_size`, in its own type; equal to those of the whole.

    Args:
        read: gives a rectangle of the image.
        size: height and width of the image.
        new_size: height and width of the resized one.
        rows: of the resized image.
        columns: of the resized image.
    """
    if size == new_size:
        return read(rows, columns)
    down, across = taps(size[0], new_size[0], rows), taps(size[1], new_size[1], columns)
    part = read(down[0], across[0])
    wide = _weighted(part.astype(np.float32), across[1], across[2], axis=1)
    result = _weighted(wide, down[1], down[2], axis=0)
    return np.rint(result).astype(part.dtype) if np.issubdtype(part.dtype, np.integer) else result.astype(part.dtype)


def _weighted(
    part: NDArray[np.float32], index: NDArray[np.int64], weight: NDArray[np.float32], *, axis: int
) -> NDArray[np.float32]:
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: NDArray[np.float32] | None = None
    for tap in range(index.shape[1]):
        if not weight[:, tap].any():
            continue
        share = np.take(part, index[:, tap], axis=axis) * weight[:, tap].reshape(shape)
        total = share if total is None else np.add(total, share, out=total)
    assert total is not None
    return total
