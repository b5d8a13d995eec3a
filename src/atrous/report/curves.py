"""Learning curves as geometry: lines, dots and ticks in the coordinates of one small SVG."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from atrous.report.numerals import decimal, percent

__all__ = ["Chart", "Dot", "Line", "Tick", "draw_curves", "round_ticks"]

Rows = Sequence[Mapping[str, Any]]

# The drawing's own units; the page scales it to the width of its card.
WIDTH, HEIGHT = 440.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 16.0, 40.0
SMALLEST = 1e-12  # what is not larger is drawn as 0; steps below the smallest floats cannot be computed
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)  # what a tick step may begin with


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A mark on an axis: where, in the drawing's units, and its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A measured point with the words shown over it."""

    x: float
    y: float
    text: str
    label: str
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve. `kind` is `train` or `val`, from which the page takes the colour."""

    name: str
    kind: str
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One drawing: its lines over the epochs, the ticks of both axes, and a sentence that says what it shows."""

    title: str
    summary: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def draw_curves(history: Rows) -> tuple[Chart, ...]:
    """Draw the losses and the validation mIoU of a run's history; charts without a value are left out.

    `history` has the rows of `history.csv`: `epoch` and, as numbers or None, `loss`, `val_loss` and `val_miou`.
    """
    losses = _chart(
        "Loss",
        history,
        (("training", "train", "loss"), ("validation", "val", "val_loss")),
        shown=decimal,
        best=None,
    )
    miou = _chart("Validation mIoU", history, (("validation", "val", "val_miou"),), shown=percent, best="val_miou")
    return tuple(chart for chart in (losses, miou) if chart is not None)


def round_ticks(largest: float, *, parts: int = 4) -> tuple[float, ...]:
    """Round values from 0 to at least `largest`, about `parts` steps apart."""
    if not largest > SMALLEST:
        return (0.0, 1.0)
    raw = largest / parts
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in STEPS if factor * power >= raw * (1 - 1e-9))
    steps = max(1, math.ceil(largest / step - 1e-9))
    return tuple(step * index for index in range(steps + 1))


def _chart(
    title: str,
    history: Rows,
    columns: Sequence[tuple[str, str, str]],
    *,
    shown: Callable[[float | None], str],
    best: str | None,
) -> Chart | None:
    points = {key: _points(history, key) for _, _, key in columns}
    values = [value for series in points.values() for _, value in series]
    if not values:
        return None
    last = max(epoch for series in points.values() for epoch, _ in series) or 1.0
    x_marks = tuple(mark for mark in round_ticks(last, parts=5) if mark <= last * (1 + 1e-9))
    y_marks = round_ticks(max(values))
    if best is not None:
        y_marks = tuple(mark for mark in y_marks if mark <= 1 + 1e-9)  # a score ends at 1

    def place(epoch: float, value: float) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * epoch / last
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / y_marks[-1]
        return round(x, 1), round(y, 1)

    lines: list[Line] = []
    for name, kind, key in columns:
        top = max((value for _, value in points[key]), default=0.0) if key == best else math.inf
        dots: list[Dot] = []
        for epoch, value in points[key]:
            x, y = place(epoch, value)
            is_best = value >= top and not any(dot.best for dot in dots)
            words = f"epoch {epoch:g}: {name} {shown(value)}{' (best)' if is_best else ''}"
            dots.append(Dot(x=x, y=y, text=words, label=shown(value), best=is_best))
        if dots:
            path = "M" + " L".join(f"{dot.x:g} {dot.y:g}" for dot in dots)
            lines.append(Line(name=name, kind=kind, path=path, dots=tuple(dots)))
    return Chart(
        title=title,
        summary=_summary(title, columns, points, shown),
        lines=tuple(lines),
        x_ticks=tuple(Tick(at=place(mark, 0)[0], text=f"{mark:g}") for mark in x_marks),
        y_ticks=tuple(Tick(at=place(0, mark)[1], text=_tick_text(y_marks, mark, shown)) for mark in y_marks),
    )


def _points(history: Rows, key: str) -> list[tuple[float, float]]:
    """(epoch, value) of the rows that have both as finite numbers, in the order of the epochs."""
    found: list[tuple[float, float]] = []
    for row in history:
        epoch, value = row.get("epoch"), row.get(key)
        if isinstance(epoch, int | float) and isinstance(value, int | float):
            point = (float(epoch), float(value))
            if all(math.isfinite(part) and part >= 0 for part in point):
                found.append(point)
    return sorted(found, key=lambda point: point[0])


def _tick_text(marks: Sequence[float], mark: float, shown: Callable[[float | None], str]) -> str:
    if shown is percent:
        return f"{100 * mark:g} %"
    step = min(after - before for before, after in pairwise(marks))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != round(step, digits + 1):  # a step of 2.5 needs one digit more
        digits += 1
    return f"{mark:.{digits}f}"


def _summary(
    title: str,
    columns: Sequence[tuple[str, str, str]],
    points: Mapping[str, Sequence[tuple[float, float]]],
    shown: Callable[[float | None], str],
) -> str:
    parts = [
        f"{name} from {shown(points[key][0][1])} to {shown(points[key][-1][1])}"
        for name, _, key in columns
        if points[key]
    ]
    return f"{title} over the epochs: {', '.join(parts)}."
