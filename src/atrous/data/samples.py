"""The one internal form that every layout is read into."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from atrous.images import PHOTO, PixelKind
from atrous.labels import Labels

__all__ = ["SPLITS", "Bands", "Dataset", "Sample"]

Bands = int | Literal["auto", "rgb"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with its mask.

    `name` is unique in the data set and stable across machines (a relative path without suffix, with `/`): randomness
    and splits are keyed by it. `group` names what must not be parted between splits (a sequence, a patient); by default
    the sample itself. `window` is the part of a large image that is meant, and of its mask: first row, row after the
    last, first column, column after the last; None for all of it.
    """

    name: str
    image: Path
    mask: Path | None
    group: str
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as it was understood: where, in which layout, with which classes and splits.

    `class_map` gives for raw mask values the class id or the ignore index where they differ; values that are neither in
    it, nor a class id, nor the ignore index are errors. `notes` are sentences for the user: what was recognised and
    decided, with the reason. `unpaired` are files for which no partner was found.

    `pixels` is what most of the first images hold, which training reads. `bands` is what was said of it: a number, "rgb"
    for reading everything as RGB in 8 bits, or "auto" for what the files say.
    """

    root: Path
    layout: str
    labels: Labels
    splits: dict[str, tuple[Sample, ...]]
    class_map: dict[int, int] = field(default_factory=dict[int, int])
    notes: tuple[str, ...] = ()
    unpaired: tuple[Path, ...] = ()
    pixels: PixelKind = PHOTO
    bands: Bands = "auto"

    def __len__(self) -> int:
        return sum(len(samples) for samples in self.splits.values())
