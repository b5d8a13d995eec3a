"""The confusion matrix as the page shows it: per class, cell by cell, and the pairs that are mistaken most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atrous.labels import Colour, Labels
from atrous.metrics import Scores
from atrous.report.numerals import cell_count, cell_percent, count, percent

__all__ = ["Cell", "ClassRow", "Matrix", "Pair", "class_rows", "draw_matrix", "hex_colour", "top_pairs"]

Counts = NDArray[np.int64]
MOST_CLASSES = 40
"""Rows that can still be read; of more classes, those with the most mistaken pixels are shown and the rest is summed."""


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class: shares in 0-1 or None where undefined, and its true pixels."""

    index: int
    name: str
    colour: str
    iou: float | None
    accuracy: float | None
    precision: float | None
    pixels: int
    share: float | None
    absent: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: both ways to write it, how strong its colour is (0-1), and what it says in words."""

    percent: str
    count: str
    strength: float
    hit: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Rows are the truth, columns the prediction. `left_out` classes are summed in the last row and column."""

    names: tuple[str, ...]
    colours: tuple[str | None, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Pixels of the class `truth` that were called `predicted`; `share` is of the true pixels, `strength` of the top."""

    truth: str
    truth_colour: str
    predicted: str
    predicted_colour: str
    pixels: int
    share: float
    strength: float


def hex_colour(colour: Colour) -> str:
    """Write (red, green, blue) as '#rrggbb'."""
    return "#{:02x}{:02x}{:02x}".format(*(int(channel) for channel in colour))


def class_rows(counts: Counts, scores: Scores, labels: Labels) -> tuple[ClassRow, ...]:
    """List the classes in their order. `counts[truth, predicted]` are pixels, (K, K)."""
    truth, predicted, hits = counts.sum(axis=1), counts.sum(axis=0), np.diagonal(counts)
    total = int(truth.sum())
    return tuple(
        ClassRow(
            index=index,
            name=name,
            colour=hex_colour(labels.palette[index]),
            iou=scores.iou[index],
            accuracy=scores.accuracy[index],
            precision=int(hits[index]) / int(predicted[index]) if predicted[index] else None,
            pixels=int(truth[index]),
            share=int(truth[index]) / total if total else None,
            absent=index in scores.absent_classes,
        )
        for index, name in enumerate(labels.names)
    )


def draw_matrix(counts: Counts, labels: Labels, *, most: int = MOST_CLASSES) -> Matrix:
    """Write every cell of `counts[truth, predicted]` (K, K), at most `most` classes and the sum of the others."""
    names, colours = list(labels.names), [hex_colour(colour) for colour in labels.palette]
    kept, left_out = _keep(counts, most)
    shown_names = [names[index] for index in kept]
    shown_colours: list[str | None] = [colours[index] for index in kept]
    shown = counts[np.ix_(kept, kept)]
    if left_out:
        rest = np.setdiff1d(np.arange(len(counts)), kept)
        right = counts[np.ix_(kept, rest)].sum(axis=1, keepdims=True)
        below = counts[np.ix_(rest, kept)].sum(axis=0, keepdims=True)
        shown = np.block([[shown, right], [below, counts[np.ix_(rest, rest)].sum()]])
        shown_names.append(f"{left_out} others")
        shown_colours.append(None)
    totals = shown.sum(axis=1)
    rows = tuple(
        tuple(
            _cell(shown_names, row, column, int(shown[row, column]), int(totals[row]))
            for column in range(len(shown_names))
        )
        for row in range(len(shown_names))
    )
    return Matrix(names=tuple(shown_names), colours=tuple(shown_colours), rows=rows, left_out=left_out)


def top_pairs(counts: Counts, labels: Labels, *, most: int = 10) -> tuple[Pair, ...]:
    """The confusions with the most pixels, the largest first."""
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    totals = counts.sum(axis=1)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    found = [(int(flat) // len(counts), int(flat) % len(counts)) for flat in order]
    largest = max(1, int(mistakes.max(initial=0)))
    return tuple(
        Pair(
            truth=labels.names[row],
            truth_colour=hex_colour(labels.palette[row]),
            predicted=labels.names[column],
            predicted_colour=hex_colour(labels.palette[column]),
            pixels=int(mistakes[row, column]),
            share=int(mistakes[row, column]) / int(totals[row]),
            strength=int(mistakes[row, column]) / largest,
        )
        for row, column in found
        if mistakes[row, column]
    )


def _keep(counts: Counts, most: int) -> tuple[NDArray[np.int64], int]:
    """Which classes get a row of their own, in their order, and how many do not."""
    if len(counts) <= most:
        return np.arange(len(counts)), 0
    hits = np.diagonal(counts)
    mistaken = counts.sum(axis=0) + counts.sum(axis=1) - 2 * hits
    kept = np.sort(np.argsort(-mistaken, kind="stable")[:most])
    return kept, len(counts) - most


def _cell(names: list[str], row: int, column: int, pixels: int, total: int) -> Cell:
    share = pixels / total if total else 0.0
    hit = row == column
    # the root lifts small confusions out of the background; hits are large and stay as they are
    strength = share if hit else share**0.5
    of_truth = percent(share) if total else "no such pixels"
    words = f"truth {names[row]} predicted {names[column]}: {count(pixels)} pixels ({of_truth})"
    return Cell(
        percent=cell_percent(share), count=cell_count(pixels), strength=round(strength, 3), hit=hit, words=words
    )
