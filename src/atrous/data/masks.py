"""From the values in a mask file to class numbers, with an error for every value that is neither."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.reading import Window, read_values
from atrous.errors import DataError
from atrous.labels import Labels

__all__ = ["ForeignValue", "class_numbers", "expected_values", "foreign_values", "is_all_void", "ranges", "read_mask"]

RawMask = NDArray[np.uint8 | np.uint16]


@dataclass(frozen=True, kw_only=True)
class ForeignValue:
    """A mask value that is no class: how many pixels have it, and where the first one is, as (y, x)."""

    value: int
    pixels: int
    first: tuple[int, int]

    def __str__(self) -> str:
        return f"value {self.value} in {self.pixels} pixels, first at (y={self.first[0]}, x={self.first[1]})"


def read_mask(path: Path, *, labels: Labels, class_map: Mapping[int, int], window: Window | None = None) -> RawMask:
    """Read a mask, or a window of it, as class numbers: (H, W) uint8, uint16 above 255 classes.

    Void is `labels.ignore_index`.

    `class_map` gives the class or the ignore index for raw values; other raw values stand for themselves.

    Raises ImageError for a file that is no mask, DataError for values that are neither mapped, nor a class, nor the
    ignore index.
    """
    raw = read_values(path, window)
    mapped = class_numbers(raw, labels=labels, class_map=class_map)
    if mapped is not None:
        return mapped
    foreign = foreign_values(raw, labels=labels, class_map=class_map, window=window)
    listed = "; ".join(str(value) for value in foreign[:5]) + (f"; {len(foreign) - 5} more" if foreign[5:] else "")
    raise DataError(
        f"{path}: {listed}; expected {expected_values(labels, class_map)}. "
        "Run `atrous check DIR` to list every such file."
    )


def class_numbers(raw: RawMask, *, labels: Labels, class_map: Mapping[int, int]) -> RawMask | None:
    """Turn raw mask values (H, W) into class numbers (H, W); None where a value has no class.

    Raises ValueError for class numbers that no pixel type holds.
    """
    table = _table(labels.num_classes, labels.ignore_index, tuple(sorted(class_map.items())), raw.dtype == np.uint8)
    if raw.size == 0:
        return raw.astype(table.numbers.dtype)
    if raw.dtype == np.uint8 and table.numbers.dtype == np.uint8:
        # two table look-ups in OpenCV: several times faster than indexing, and nothing larger than a byte a pixel
        if cv2.countNonZero(cv2.LUT(raw, table.foreign)):
            return None
        return raw if table.is_identity else np.asarray(cv2.LUT(raw, table.numbers), dtype=np.uint8)
    if table.foreign[raw].any():
        return None
    return table.numbers[raw]


def is_all_void(raw: RawMask, *, labels: Labels, class_map: Mapping[int, int]) -> bool:
    """Whether every pixel of a raw mask (H, W) is void; a value without a class is not."""
    numbers = class_numbers(raw, labels=labels, class_map=class_map)
    return numbers is not None and bool((numbers == labels.ignore_index).all())


def foreign_values(
    raw: RawMask, *, labels: Labels, class_map: Mapping[int, int], window: Window | None = None
) -> tuple[ForeignValue, ...]:
    """List the values of a raw mask (H, W) that have no class, the smallest first.

    `window` is where it lies in the whole mask, in which places are told.
    """
    table = _table(labels.num_classes, labels.ignore_index, tuple(sorted(class_map.items())), raw.dtype == np.uint8)
    counts = np.bincount(raw.ravel(), minlength=table.foreign.size)
    found: list[ForeignValue] = []
    for value in np.flatnonzero((counts > 0) & (table.foreign > 0)).tolist():
        y, x = divmod(int(np.argmax(raw.ravel() == value)), raw.shape[1])
        first = (y, x) if window is None else (window[0] + y, window[2] + x)
        found.append(ForeignValue(value=value, pixels=int(counts[value]), first=first))
    return tuple(found)


def expected_values(labels: Labels, class_map: Mapping[int, int]) -> str:
    """Say which raw values a mask may hold: '0-10 or 255', with mapped values in it ('0-11 or 255')."""
    classes = {*range(labels.num_classes), *class_map} - {labels.ignore_index}
    is_void = class_map.get(labels.ignore_index, labels.ignore_index) == labels.ignore_index
    return f"{ranges(classes)} or {labels.ignore_index}" + (" (void)" if is_void else "")


def ranges(values: Iterable[int]) -> str:
    """Write numbers shortly: '0-2, 5, 7-9'."""
    parts: list[list[int]] = []
    for value in sorted(set(values)):
        if parts and value == parts[-1][1] + 1:
            parts[-1][1] = value
        else:
            parts.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


@dataclass(frozen=True, kw_only=True)
class _Table:
    numbers: RawMask
    foreign: NDArray[np.uint8]
    is_identity: bool


@lru_cache(maxsize=64)
def _table(num_classes: int, ignore_index: int, mapped: tuple[tuple[int, int], ...], is_byte: bool) -> _Table:
    size = 256 if is_byte else 65536
    if not 0 <= ignore_index <= 65535 or num_classes > 65535:
        raise ValueError(f"{num_classes} classes with ignore index {ignore_index} do not fit into 16 bits")
    dtype = np.uint8 if num_classes <= 255 and ignore_index <= 255 else np.uint16
    numbers = np.full(size, ignore_index, dtype)
    foreign = np.ones(size, np.uint8)
    known = min(num_classes, size)
    numbers[:known] = np.arange(known)
    foreign[:known] = 0
    if ignore_index < size:
        foreign[ignore_index] = 0
    for value, number in mapped:
        if not (0 <= number < num_classes or number == ignore_index):
            raise ValueError(f"class_map sends {value} to {number}, which is neither a class nor {ignore_index}")
        if 0 <= value < size:
            numbers[value] = number
            foreign[value] = 0
    is_identity = all(value == number for value, number in mapped)
    return _Table(numbers=numbers, foreign=foreign, is_identity=is_identity)
