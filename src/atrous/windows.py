"""Windows over a large image: cores that tile it, each read with a margin around it."""

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Window", "windows"]


@dataclass(frozen=True)
class Window:
    """A rectangle of results (`rows`, `columns`), and the larger one that is read for it; slices in pixels."""

    rows: slice
    columns: slice
    read_rows: slice
    read_columns: slice

    @property
    def offset(self) -> tuple[int, int]:
        """Where the core begins in what is read: (y, x) in pixels."""
        return self.rows.start - self.read_rows.start, self.columns.start - self.read_columns.start

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the core in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def windows(size: tuple[int, int], *, core: int, margin: int, step: int) -> list[Window]:
    """Windows over an image of `size` (height, width), row by row, whose cores cover every pixel once.

    Args:
        size: height and width of the image in pixels.
        core: at most so many pixels a side; cores of one axis are made about equally long.
        margin: pixels read on every side beyond the core, cut at the image's border.
        step: cores and what is read begin at multiples of it, so that a network's strides fall where they fall on the
            whole image.

    Raises:
        ValueError: a core or margin that is no multiple of `step`, or no core.
    """
    if core < step or core % step or margin % step:
        raise ValueError(f"core {core} and margin {margin} must be multiples of the step {step}, and the core not 0")
    down, across = (_cuts(length, core, step) for length in size)
    return [
        Window(rows, columns, _grown(rows, margin, size[0]), _grown(columns, margin, size[1]))
        for rows in down
        for columns in across
    ]


def _cuts(length: int, core: int, step: int) -> list[slice]:
    count = -(-length // core)
    steps = -(-length // step)
    edges = [min(length, step * (steps * index // count)) for index in range(count)] + [length]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _grown(part: slice, margin: int, length: int) -> slice:
    return slice(max(0, part.start - margin), min(length, part.stop + margin))
