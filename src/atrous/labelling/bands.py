"""What needs every class at every pixel: confidence, thresholds per class, the mean of several views.

Made a tile at a time, never at full size. Each equals the computation of the same name in `plain`: labels where the two
best differ by more than float32 rounding, probabilities within 1e-5.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.labelling.cells import label_map
from atrous.labelling.grid import Axis, axes, checked
from atrous.labelling.plain import WHOLE, LabelMap, label_type
from atrous.labelling.threads import spread
from atrous.labelling.tiles import Tile, best_of, tile_scores, tiles_of

__all__ = [
    "STRIP_BYTES",
    "TILE_BYTES",
    "averaged",
    "averaged_confidence",
    "label_map_and_confidence",
    "probability_strips",
    "thresholded",
]

TILE_BYTES = 3 << 20  # what one thread needs beside the result: five arrays of a tile's scores in float32, and a margin
STRIP_BYTES = 8 << 20  # of one strip of probabilities, where a single column of pixels takes no more


class _View(NamedTuple):
    """Coarse logits with where each pixel reads them."""

    logits: NDArray[np.float32]  # (K, h, w)
    rows: Axis
    columns: Axis
    mirrored: bool  # left to right


def label_map_and_confidence(
    coarse: Tensor, size: tuple[int, int], *, align_corners: bool = False, cover: tuple[float, float] = WHOLE
) -> tuple[LabelMap, NDArray[np.float32]]:
    """The labels that `label_map` gives, and the highest probability of each pixel.

    Args:
        coarse: (1, K, h, w) float, finite, at the network's own stride.
        size: height and width of the results in pixels.
        align_corners: torch's setting of that name.
        cover: the share of the coarse map's height and width, from the top left, that the image fills.

    Returns:
        (H, W) uint8, uint16 above 256 classes; and (H, W) float32, 1 / K to 1.

    Raises:
        ValueError: another shape than (1, K, h, w), an empty one, a size that is not positive, a cover that is no share.
    """
    view = _view(coarse, size, mirrored=False, align_corners=align_corners, cover=cover)
    confidence = np.empty(size, np.float32)

    def write(tile: Tile) -> None:
        scores = _exponentials(view, tile)
        confidence[tile.rows, tile.columns] = (1 / scores.sum(axis=1)).T  # the highest exponential is 1

    _each_tile(write, size, coarse.shape[1])
    return label_map(coarse, size, align_corners=align_corners, cover=cover), confidence


def thresholded(
    coarse: Tensor,
    size: tuple[int, int],
    thresholds: Sequence[float],
    *,
    void: int = 255,
    align_corners: bool = False,
    cover: tuple[float, float] = WHOLE,
) -> LabelMap:
    """The most probable class among those whose probability reaches their threshold; `void` where none does.

    Args:
        coarse: (1, K, h, w) float, finite, at the network's own stride.
        size: height and width of the result in pixels.
        thresholds: the least probability of each class, K numbers; 0 always lets a class stand.
        void: the value of pixels without a class, not one of the classes' own.
        align_corners: torch's setting of that name.
        cover: the share of the coarse map's height and width, from the top left, that the image fills.

    Returns:
        (H, W) uint8, uint16 where a class or `void` is above 255.

    Raises:
        ValueError: another number of thresholds than classes, or a `void` that is a class or no uint16.
    """
    view = _view(coarse, size, mirrored=False, align_corners=align_corners, cover=cover)
    num_classes = coarse.shape[1]
    if len(thresholds) != num_classes:
        raise ValueError(f"{len(thresholds)} thresholds for {num_classes} classes; expected one for each")
    if not num_classes <= void < 1 << 16:
        raise ValueError(f"void is {void}; expected {num_classes} to 65535, as 0 to {num_classes - 1} are classes")
    limits = np.asarray(thresholds, np.float32)[:, None]
    labels = np.empty(size, label_type(void + 1))

    def write(tile: Tile) -> None:
        shares = _probabilities(view, tile)
        np.copyto(shares, np.float32(-1), where=shares < limits)
        highest, best = best_of(shares)
        here = labels[tile.rows, tile.columns]
        here[...] = best
        here[highest < 0] = void

    _each_tile(write, size, num_classes)
    return labels


def averaged(
    coarse: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool] | None = None,
    align_corners: bool = False,
    covers: Sequence[tuple[float, float]] | None = None,
) -> LabelMap:
    """The best class of the mean probabilities of several views of one image: scales, and mirrored ones.

    Args:
        coarse: the views' logits, each (1, K, h', w') float, finite, of sizes of their own.
        size: height and width of the result in pixels.
        flipped: for each view whether it saw the image mirrored left to right; its probabilities are mirrored back.
        align_corners: torch's setting of that name.
        covers: for each view the share of its coarse map's height and width, from the top left, that the image fills.

    Returns:
        (H, W) uint8, uint16 above 256 classes.

    Raises:
        ValueError: no view, views with different numbers of classes, or another number of `flipped` or `covers` than
            of views.
    """
    views = _views(coarse, size, flipped=flipped, align_corners=align_corners, covers=covers)
    labels = np.empty(size, label_type(coarse[0].shape[1]))

    def write(tile: Tile) -> None:
        labels[tile.rows, tile.columns] = best_of(_total(views, tile))[1]

    _each_tile(write, size, coarse[0].shape[1])
    return labels


def averaged_confidence(
    coarse: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool] | None = None,
    align_corners: bool = False,
    covers: Sequence[tuple[float, float]] | None = None,
) -> NDArray[np.float32]:
    """The highest of the mean probabilities of several views of one image, (H, W) float32.

    Arguments and errors are those of `averaged`.
    """
    views = _views(coarse, size, flipped=flipped, align_corners=align_corners, covers=covers)
    confidence = np.empty(size, np.float32)

    def write(tile: Tile) -> None:
        confidence[tile.rows, tile.columns] = (_total(views, tile).max(axis=1) / np.float32(len(views))).T

    _each_tile(write, size, coarse[0].shape[1])
    return confidence


def probability_strips(
    coarse: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool] | None = None,
    align_corners: bool = False,
    covers: Sequence[tuple[float, float]] | None = None,
) -> Iterator[NDArray[np.float16]]:
    """The mean probabilities of several views of one image, some columns at a time, from the left.

    Arguments and errors are those of `averaged`. A strip has `STRIP_BYTES`, or is one column.

    Yields:
        Strips (columns, H, K) float16; all of them together have W columns.
    """
    views = _views(coarse, size, flipped=flipped, align_corners=align_corners, covers=covers)
    num_classes = coarse[0].shape[1]
    width = max(1, STRIP_BYTES // (2 * num_classes * size[0]))
    for left in range(0, size[1], width):
        strip = np.empty((min(width, size[1] - left), size[0], num_classes), np.float16)

        def write(tile: Tile, strip: NDArray[np.float16] = strip, left: int = left) -> None:
            there = Tile(tile.rows, slice(tile.columns.start + left, tile.columns.stop + left))
            mean = _total(views, there)
            mean /= len(views)
            halves = torch.from_numpy(mean).half().numpy()  # twenty times as fast as NumPy's own rounding
            strip[tile.columns, tile.rows] = halves.transpose(0, 2, 1)

        _each_tile(write, (size[0], len(strip)), num_classes)
        yield strip


def _views(
    coarse: Sequence[Tensor],
    size: tuple[int, int],
    *,
    flipped: Sequence[bool] | None,
    align_corners: bool,
    covers: Sequence[tuple[float, float]] | None,
) -> list[_View]:
    if not coarse:
        raise ValueError("no view to average; expected the logits of at least one")
    counts = {view.shape[1] for view in coarse if view.ndim == 4}
    if len(counts) > 1:
        raise ValueError(f"views have {', '.join(map(str, sorted(counts)))} classes; expected the same number in all")
    mirrored = [False] * len(coarse) if flipped is None else list(flipped)
    parts = [WHOLE] * len(coarse) if covers is None else list(covers)
    for name, values in (("flipped", mirrored), ("covers", parts)):
        if len(values) != len(coarse):
            raise ValueError(f"{len(values)} values of {name} for {len(coarse)} views; expected one for each")
    return [
        _view(logits, size, mirrored=mirror, align_corners=align_corners, cover=cover)
        for logits, mirror, cover in zip(coarse, mirrored, parts, strict=True)
    ]


def _total(views: Sequence[_View], tile: Tile) -> NDArray[np.float32]:
    """The sum of the views' probabilities of a tile's pixels: (columns, K, rows) float32."""
    total = _probabilities(views[0], tile)
    for view in views[1:]:
        total += _probabilities(view, tile)
    return total


def _view(
    coarse: Tensor, size: tuple[int, int], *, mirrored: bool, align_corners: bool, cover: tuple[float, float]
) -> _View:
    logits = checked(coarse, size).cpu().numpy()
    _, height, width = logits.shape
    return _View(logits, *axes((height, width), size, align_corners=align_corners, cover=cover), mirrored)


def _each_tile(write: Callable[[Tile], None], size: tuple[int, int], num_classes: int) -> None:
    """Call `write` for all tiles, on the threads that torch was given."""
    tiles = tiles_of(size, num_classes)

    def write_some(first: int, last: int) -> None:
        for tile in tiles[first:last]:
            write(tile)

    spread(write_some, len(tiles), threads=torch.get_num_threads())


def _exponentials(view: _View, tile: Tile) -> NDArray[np.float32]:
    """exp(score - highest score) of a tile's pixels: (columns, K, rows) float32."""
    if view.mirrored:
        width = len(view.columns.low)
        seen = Tile(tile.rows, slice(width - tile.columns.stop, width - tile.columns.start))
        scores = tile_scores(view.logits, view.rows, view.columns, seen)[::-1]
    else:
        scores = tile_scores(view.logits, view.rows, view.columns, tile)
    scores -= scores.max(axis=1, keepdims=True)
    return np.exp(scores, out=scores)


def _probabilities(view: _View, tile: Tile) -> NDArray[np.float32]:
    """The softmax of a tile's scores: (columns, K, rows) float32."""
    scores = _exponentials(view, tile)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores
