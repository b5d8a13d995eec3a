"""The compiled path: one row of cells after the other, with a few rows of numbers as its whole memory.

Needs Numba. The sums are made in the order of `blocks`, without fused operations, so both give the same labels bit for
bit. Corners are counted top left, top right, bottom left, bottom right.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["paint_rows"]

FEW_PIXELS = 4  # in smaller cells it costs more to find the candidates than to score every class
ONE = np.float32(1)
ROUNDING = np.float32(1e-6)  # relative; the scores of a pixel are off by at most a quarter of it
# Scores are numbers, and zero has no sign here: that lets the maximum of many be found several at a time.
ORDERED = {"nnan", "nsz"}

_njit: Callable[..., Callable[[Callable[..., Any]], Any]] = njit  # its own types leave out some options


def part(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only compiled ones call: without a way in from Python, in half the time."""
    return _njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)


def cached(function: Callable[..., Any]) -> Any:
    """Compile, and keep the result on disk, in `NUMBA_CACHE_DIR` or beside this file or in the user's cache folder."""
    try:
        return _njit(nogil=True, no_cfunc_wrapper=True, cache=True)(function)
    except RuntimeError:  # "no locator available": none of these can be written
        return _njit(nogil=True, no_cfunc_wrapper=True)(function)


@part(fastmath=ORDERED)
def first_maximum(values: NDArray[np.float32]) -> np.int32:
    """The index of the first maximum; two plain loops, which become vector code."""
    highest = values[0]
    for k in range(1, values.shape[0]):
        highest = values[k] if values[k] > highest else highest
    last = np.int32(values.shape[0] - 1)
    first = last
    for k in range(values.shape[0]):
        found = np.int32(k) if values[k] == highest else last
        first = found if found < first else first
    return first


@part()
def find_winners(values: Any, at: int, strides: Any, shape: Any, winners: Any, highest: Any) -> None:
    """The best class of every position of one coarse row, which begins at values[at]."""
    along_classes, _, along_columns = strides
    num_classes, _, width = shape
    if along_classes == 1:
        for x in range(width):
            start = at + x * along_columns
            winners[x] = first_maximum(values[start : start + num_classes])
        return
    for x in range(width):
        highest[x] = values[at + x * along_columns]
        winners[x] = 0
    for k in range(1, num_classes):
        start = at + k * along_classes
        line = values[start : start + (width - 1) * along_columns + 1]
        if along_columns == 1:
            for x in range(width):
                better = line[x] > highest[x]
                highest[x] = line[x] if better else highest[x]
                winners[x] = np.int32(k) if better else winners[x]
        else:
            for x in range(width):
                if line[x * along_columns] > highest[x]:
                    highest[x] = line[x * along_columns]
                    winners[x] = k


@part()
def find_candidates(corners: Any, winners: Any, kept: Any, candidates: Any) -> int:
    """The classes that can win somewhere in a cell, in order; returns how many.

    A class that is below one winner at all four corners is below it everywhere inside; so is one that is below the mean
    of the winners, as the best of them is never below their mean.
    """
    num_classes = corners.shape[1]
    for k in range(num_classes):
        kept[k] = 1
    size = np.float32(0)
    sum_a = sum_b = sum_c = sum_d = np.float32(0)
    for i in range(5):
        if i < 4:
            k = winners[i]
            a, b, c, d = corners[0, k], corners[1, k], corners[2, k], corners[3, k]
            sum_a, sum_b, sum_c, sum_d = sum_a + a, sum_b + b, sum_c + c, sum_d + d
            size = max(size, abs(a), abs(b), abs(c), abs(d))
            if i > 0 and k == winners[i - 1]:
                continue
        else:
            quarter = np.float32(0.25)
            a, b, c, d = sum_a * quarter, sum_b * quarter, sum_c * quarter, sum_d * quarter
        slack = ROUNDING * size
        a, b, c, d = a - slack, b - slack, c - slack, d - slack
        for k in range(num_classes):
            above = (corners[0, k] >= a) | (corners[1, k] >= b) | (corners[2, k] >= c) | (corners[3, k] >= d)
            kept[k] &= np.int32(above)
    count = 0
    for k in range(num_classes):
        candidates[count] = k
        count += kept[k]
    return count


@part()
def paint_cell(
    corners: Any, candidates: Any, count: int, box: Any, rows: Any, columns: Any, line: Any, out: Any
) -> None:
    """Score the candidates at every pixel of a cell, and write the best."""
    top, bottom, left, right = box
    best, best_class = line
    weights = columns[2][left:right]
    width = right - left
    for y in range(top, bottom):
        down = rows[2][y]
        up = ONE - down
        for i in range(count):
            k = candidates[i]
            first = up * corners[0, k] + down * corners[2, k]
            last = up * corners[1, k] + down * corners[3, k]
            if i == 0:
                for x in range(width):
                    best[x] = (ONE - weights[x]) * first + weights[x] * last
                    best_class[x] = k
            else:
                for x in range(width):
                    score = (ONE - weights[x]) * first + weights[x] * last
                    better = score > best[x]
                    best[x] = score if better else best[x]
                    best_class[x] = k if better else best_class[x]
        pixels = out[y, left:right]
        for x in range(width):
            pixels[x] = best_class[x]


@part()
def paint_small_cell(corners: Any, box: Any, rows: Any, columns: Any, scores: Any, out: Any) -> None:
    """Score every class at every pixel of a cell, and write the best."""
    top, bottom, left, right = box
    num_classes = corners.shape[1]
    for y in range(top, bottom):
        down = rows[2][y]
        up = ONE - down
        for x in range(left, right):
            over = columns[2][x]
            back = ONE - over
            for k in range(num_classes):
                first = up * corners[0, k] + down * corners[2, k]
                last = up * corners[1, k] + down * corners[3, k]
                scores[k] = back * first + over * last
            out[y, x] = first_maximum(scores)


@part()
def read_corners(values: Any, corner: Any, strides: Any, held: int, corners: Any) -> None:
    """Bring the scores of a cell's corners together; those of its left side are there if the last cell ended there."""
    above, below, left, right = corner
    along_classes, along_rows, along_columns = strides
    num_classes = corners.shape[1]
    for i in range(4):
        if held == left and i % 2 == 0:
            for k in range(num_classes):
                corners[i, k] = corners[i + 1, k]
        else:
            at = (above if i < 2 else below) * along_rows + (left if i % 2 == 0 else right) * along_columns
            source = values[at : at + (num_classes - 1) * along_classes + 1]
            if along_classes == 1:
                for k in range(num_classes):
                    corners[i, k] = source[k]
            else:
                for k in range(num_classes):
                    corners[i, k] = source[k * along_classes]


@part()
def fill_rows(winners: Any, narrow: Any, columns: Any, top: int, bottom: int, out: Any) -> None:
    """Give every pixel of a row of cells the class of its cell's first corner; `narrow` has the type of `out`."""
    for x in range(narrow.shape[0]):
        narrow[x] = winners[x]
    for x in range(out.shape[1]):
        out[top, x] = narrow[columns[0][x]]
    for y in range(top + 1, bottom):
        source, target = out[top], out[y]
        for x in range(out.shape[1]):
            target[x] = source[x]


@cached
def paint_rows(scores: Any, rows: Any, columns: Any, everywhere: bool, begin: int, end: int, out: Any) -> None:
    """Write the labels of the rows of cells from `begin` to `end`.

    Args:
        scores: a `Scores`: the coarse logits.
        rows: an `Axis`: which coarse rows each row of pixels reads.
        columns: an `Axis`, likewise.
        everywhere: score every pixel without looking for the winners of the corners first, for results smaller than
            the coarse grid.
        begin: first row of cells.
        end: the row of cells after the last.
        out: (H, W) uint8 or uint16.
    """
    values, strides, shape = scores
    num_classes, _, width = shape
    winners, winners_below = np.zeros(width, np.int32), np.zeros(width, np.int32)
    highest, narrow = np.empty(width, np.float32), np.empty(width, out.dtype)
    corners, corner_winners = np.empty((4, num_classes), np.float32), np.empty(4, np.int32)
    kept, candidates = np.empty(num_classes, np.int32), np.empty(num_classes + 1, np.int32)
    class_scores = np.empty(num_classes, np.float32)
    line = np.empty(out.shape[1], np.float32), np.empty(out.shape[1], np.int32)
    known = -1
    for i in range(begin, end):
        top, bottom = rows[3][i], rows[3][i + 1]
        above, below = rows[0][top], rows[1][top]
        if not everywhere:
            winners, winners_below = winners_below, winners
            if known != above:
                find_winners(values, above * strides[1], strides, shape, winners, highest)
            if below != above:
                find_winners(values, below * strides[1], strides, shape, winners_below, highest)
            else:
                for x in range(width):
                    winners_below[x] = winners[x]
            known = below
            fill_rows(winners, narrow, columns, top, bottom, out)
        held = np.int32(-1)
        for j in range(columns[3].shape[0] - 1):
            left, right = columns[3][j], columns[3][j + 1]
            near, far = columns[0][left], columns[1][left]
            corner_winners[0], corner_winners[1] = winners[near], winners[far]
            corner_winners[2], corner_winners[3] = winners_below[near], winners_below[far]
            first = corner_winners[0]
            agree = first == corner_winners[1] and first == corner_winners[2] and first == corner_winners[3]
            if agree and not everywhere:
                continue
            read_corners(values, (above, below, near, far), strides, held, corners)
            held = far
            box = top, bottom, left, right
            if everywhere or (bottom - top) * (right - left) <= FEW_PIXELS:
                paint_small_cell(corners, box, rows, columns, class_scores, out)
            else:
                count = find_candidates(corners, corner_winners, kept, candidates)
                paint_cell(corners, candidates, count, box, rows, columns, line, out)
