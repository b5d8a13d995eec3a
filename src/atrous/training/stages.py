"""The stages of a run: one, or two as in the DeepLabv3 paper, where the second has a smaller stride and frozen norms."""

from dataclasses import dataclass

from atrous.config import TrainConfig
from atrous.training.freezing import FrozenNorms

__all__ = ["Stage", "stage_at", "stages_of"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run, from `start` to `end` of its progress, with a schedule of its own.

    `output_stride` None leaves the network as it was built. `norms` says whose batch norm keeps its statistics.
    """

    start: float
    end: float
    rate: float
    output_stride: int | None
    norms: FrozenNorms

    def progress(self, progress: float) -> float:
        """The progress within this stage, 0 to 1, of the run's `progress`."""
        return min(max((progress - self.start) / (self.end - self.start), 0.0), 1.0)


def stages_of(config: TrainConfig, norms: FrozenNorms) -> tuple[Stage, ...]:
    """The stages that `config` asks for; `norms` is whose batch norm the first one freezes.

    In the second stage all batch norm is frozen, and the optimiser begins anew (v3 paper, section 4.1).
    """
    if not config.second_stage:
        return (Stage(start=0.0, end=1.0, rate=config.rate, output_stride=None, norms=norms),)
    switch = 1 - config.second_stage
    return (
        Stage(start=0.0, end=switch, rate=config.rate, output_stride=None, norms=norms),
        Stage(start=switch, end=1.0, rate=config.second_rate, output_stride=config.second_stride, norms="all"),
    )


def stage_at(stages: tuple[Stage, ...], progress: float) -> int:
    """The number of the stage that a run is in at `progress`."""
    return max(number for number, stage in enumerate(stages) if progress >= stage.start)
