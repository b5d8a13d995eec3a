"""How long a run will take, and how much memory and disk: measured on a few of its own steps before it begins."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from atrous.training.narrator import duration

__all__ = ["Forecast", "Stopwatch", "show_forecast"]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What was measured, and what follows from it.

    `seconds` is the whole run from its start, `steps` how many it will take. `memory` is the process's peak (on a GPU:
    the card's), `disk` what the run folder and kept outputs take, both in bytes; memory is None where the system does
    not tell.
    """

    model: str
    crop: tuple[int, int]
    output_stride: int
    batch: int
    parts: int
    epochs: float
    views: int | None
    steps: int
    step_seconds: float
    frozen_seconds: float
    validation_seconds: float
    validations: int
    seconds: float
    memory: int | None
    disk: int

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON's types."""
        return {"format_version": 1, **asdict(self), "crop": list(self.crop)}


def show_forecast(forecast: Forecast) -> list[str]:
    """The plan as lines for people."""
    f = forecast
    parts = f" in {f.parts} parts" if f.parts > 1 else ""
    views = "new views of every image each epoch" if f.views is None else f"{f.views} views of every image in turn"
    memory = "unknown" if f.memory is None else f"{f.memory / 2**30:.1f} GB"
    frozen = f", frozen part {duration(f.frozen_seconds)}" if f.frozen_seconds else ""
    return [
        f"network     {f.model}, output stride {f.output_stride}",
        f"images      {f.batch} a step{parts}, crops of {f.crop[0]}x{f.crop[1]}, {views}",
        f"length      {f.steps} steps, {f.epochs:.1f} epochs, {f.validations} validations",
        f"time        {duration(f.seconds)} in all (a step {f.step_seconds:.2f} s, a validation "
        f"{duration(f.validation_seconds)}{frozen})",
        f"memory      {memory} at most",
        f"disk        {f.disk / 2**30:.1f} GB at most",
    ]


class Stopwatch:
    """The seconds of repeated acts on a device; the first is left out, for it makes things ready."""

    def __init__(self, device: torch.device, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self._seconds: list[float] = []

    def time(self, act: Callable[[], object]) -> None:
        """Do `act` and note how long it took."""
        begin = self._clock()
        act()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds.append(self._clock() - begin)

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(self._seconds)

    @property
    def mean(self) -> float:
        """Of all but the first, where there are more."""
        counted = self._seconds[1:] or self._seconds
        return sum(counted) / max(len(counted), 1)
