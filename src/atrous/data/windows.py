"""Images too large to be read at once are cut into windows, in mind only: no file is written.

Neighbouring windows show the same fields and roofs, so a split by chance would measure what was learned by heart. Where
one image must serve both train and val it is parted into blocks, val gets whole blocks, and the windows of train that
lie nearer to val than one window are left out (spatial blocks with a buffer; Roberts et al. 2017, Ecography 40).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from atrous.data.masks import is_all_void
from atrous.data.reading import Window, read_values
from atrous.data.samples import Sample
from atrous.errors import DataError, ImageError
from atrous.labels import Labels
from atrous.rasters import read_tiff_header

__all__ = ["GAP", "LARGE_SIDE", "WINDOW_SIDE", "Cut", "cut_large", "leave_gap"]

LARGE_SIDE = 4096
"""Pixels: a TIFF with a longer side is read by windows. Other files are decoded whole anyway, whatever is used of them."""

WINDOW_SIDE = 1024
"""Pixels; a whole number of the usual tiles (256, 512), so that no tile is decoded for two windows."""

GAP = WINDOW_SIDE
"""Pixels between val and train, at least."""

WHOLE_IMAGES = 5
"""So many large images are split as whole images, a fifth of them for val; fewer are parted into blocks."""

_BLOCK_WINDOWS = 5  # at least, on a side of a block where there are more than two: its border costs train less
_MOST_BLOCKS = 4  # on a side


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Samples with windows in place of large images, and a sentence about it, empty where nothing was cut."""

    splits: dict[str, tuple[Sample, ...]]
    note: str


def cut_large(
    splits: dict[str, tuple[Sample, ...]], *, labels: Labels, class_map: dict[int, int], parts_train: bool
) -> Cut:
    """Cut the large images that have a mask into windows; those whose mask is all void are left out.

    Args:
        splits: samples by split.
        labels: classes; its ignore index is void.
        class_map: class or ignore index for raw mask values.
        parts_train: whether train is still to be parted into train and val. Then, of fewer than five large images, those
            that are their own group get a group for every block.
    """
    large = [
        (sample, size) for samples in splits.values() for sample in samples if (size := _large_size(sample)) is not None
    ]
    if not large:
        return Cut(splits=splits, note="")
    in_blocks = parts_train and len(large) < WHOLE_IMAGES
    windows: dict[str, tuple[Sample, ...]] = {}
    void = 0
    for sample, size in large:
        all_of_it = _windows_of(sample, size, in_blocks=in_blocks)
        labelled = tuple(part for part in all_of_it if not _is_void(part, labels, class_map))
        windows[sample.name] = labelled or all_of_it[:1]  # one stays, so that a check finds the image without labels
        void += len(all_of_it) - len(windows[sample.name])
    cut = {
        name: tuple(part for sample in samples for part in windows.get(sample.name, (sample,)))
        for name, samples in splits.items()
    }
    note = _note(large, sum(map(len, windows.values())), void, in_blocks=in_blocks)
    return Cut(splits=cut, note=note)


def leave_gap(train: Sequence[Sample], val: Sequence[Sample]) -> tuple[tuple[Sample, ...], str]:
    """Train without the windows nearer to a window of val than `GAP`, and a sentence about it, empty where none is.

    Raises DataError where no sample of train would be left.
    """
    held: dict[Path, list[Window]] = defaultdict(list)
    for sample in val:
        if sample.window is not None:
            held[sample.image].append(sample.window)
    kept = tuple(
        sample
        for sample in train
        if sample.window is None or all(_distance(sample.window, other) >= GAP for other in held[sample.image])
    )
    left_out = len(train) - len(kept)
    if not left_out:
        return kept, ""
    if not kept:
        raise DataError(
            f"{train[0].image}: all {left_out} windows of train lie nearer than {GAP} pixels to val; expected some that "
            "do not. Take a smaller share for val, or name other images as val."
        )
    return kept, (
        f"{left_out} windows of train are left out, because they lie nearer than {GAP} pixels to val: train keeps "
        f"{len(kept)}, and no pixel of val is near one that was trained on."
    )


def _large_size(sample: Sample) -> tuple[int, int] | None:
    """The size of an image that is to be cut; None for the others, and for files that a check will complain of."""
    if sample.mask is None or sample.window is not None or sample.image.suffix.lower() not in (".tif", ".tiff"):
        return None
    header = read_tiff_header(sample.image)
    if header is None or not header.is_plain or max(header.size) <= LARGE_SIDE or min(header.size) < 1:
        return None
    return header.size


def _windows_of(sample: Sample, size: tuple[int, int], *, in_blocks: bool) -> tuple[Sample, ...]:
    """All windows of an image (height, width), row by row."""
    rows, columns = (list(pairwise(_edges(length))) for length in size)
    block = _blocks(len(rows), len(columns)) if in_blocks and sample.group == sample.name else None
    return tuple(
        replace(
            sample,
            name=f"{sample.name}_y{top}_x{left}",
            window=(top, bottom, left, right),
            group=sample.group if block is None else f"{sample.group} block {block(row, column)}",
        )
        for row, (top, bottom) in enumerate(rows)
        for column, (left, right) in enumerate(columns)
    )


def _edges(length: int) -> list[int]:
    """Where windows begin, and the end: every 1024 pixels; a rest of less than half a window belongs to the last."""
    edges = list(range(0, length, WINDOW_SIDE))
    if len(edges) > 1 and length - edges[-1] < WINDOW_SIDE // 2:
        edges.pop()
    return [*edges, length]


def _blocks(rows: int, columns: int) -> Callable[[int, int], str]:
    """Which block the window at (row, column) lies in: nearly square parts of an image, four in a small or narrow one."""

    def count(windows: int, across: int) -> int:
        if windows < _MOST_BLOCKS:  # a narrow image is parted along its length only
            return 1
        least = _MOST_BLOCKS if across < _MOST_BLOCKS else 2
        return min(max(least, windows // _BLOCK_WINDOWS), _MOST_BLOCKS)

    down, over = count(rows, columns), count(columns, rows)
    return lambda row, column: f"{row * down // rows}-{column * over // columns}"


def _distance(one: Window, other: Window) -> int:
    """Pixels between two windows: the larger of the gaps between their rows and their columns, 0 where they touch."""
    down = max(other[0] - one[1], one[0] - other[1])
    across = max(other[2] - one[3], one[2] - other[3])
    return max(down, across, 0)


def _is_void(sample: Sample, labels: Labels, class_map: dict[int, int]) -> bool:
    if sample.mask is None or sample.window is None:
        return False
    try:
        return is_all_void(read_values(sample.mask, sample.window), labels=labels, class_map=class_map)
    except (ImageError, DataError):
        return False  # a check lists it


def _note(large: list[tuple[Sample, tuple[int, int]]], windows: int, void: int, *, in_blocks: bool) -> str:
    sample, (height, width) = large[0]
    what = f"{len(large)} images have" if len(large) > 1 else "1 image has"
    shown = f"{sample.image.name}: {height}x{width}" + (", ..." if large[1:] else "")
    return (
        f"Windows: {what} a side of more than {LARGE_SIDE} pixels ({shown}), so {windows} windows of about "
        f"{WINDOW_SIDE}x{WINDOW_SIDE} count as images and are read alone"
        + (", in blocks that stay whole" if in_blocks else "")
        + (f"; {void} more whose mask is all void are left out." if void else ".")
    )
