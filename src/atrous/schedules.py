"""Schedules of the learning rate: its share of the full rate as a function of a run's progress, 0 to 1."""

import math
from typing import Literal, get_args

__all__ = ["SCHEDULES", "Schedule", "rate_factor"]

Schedule = Literal["poly", "cosine", "one-cycle", "constant"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)

# One-cycle (Smith and Topin 2017, arXiv 1708.07120) with the numbers of fastai's `fit_one_cycle`.
CYCLE_RISE = 0.25
CYCLE_FIRST = 1 / 25
CYCLE_LAST = 1e-5
WARMUP_FIRST = 0.1


def rate_factor(schedule: Schedule, progress: float, *, power: float = 0.9, warmup: float = 0.0) -> float:
    """The share of the full rate at `progress`.

    `poly` is (1 - progress)^power; power 0.9 is the DeepLab papers' (v3, section 4.1). `cosine` falls along half a
    cosine (Loshchilov and Hutter 2016, arXiv 1608.03983), `constant` does not fall. All three rise linearly from a tenth
    over the first `warmup` of the run. `one-cycle` has a rise of its own, a quarter of the run from 1/25.

    Raises:
        ValueError: an unknown schedule.
    """
    progress = min(max(progress, 0.0), 1.0)
    if schedule == "one-cycle":
        return _one_cycle(progress)
    rise = min(1.0, WARMUP_FIRST + (1 - WARMUP_FIRST) * progress / warmup) if warmup > 0 else 1.0
    if schedule == "poly":
        return (1 - progress) ** power * rise
    if schedule == "cosine":
        return _half_cosine(1.0, 0.0, progress) * rise
    if schedule == "constant":
        return rise
    raise ValueError(f"unknown schedule {schedule!r}; expected {', '.join(SCHEDULES)}")


def _one_cycle(progress: float) -> float:
    if progress < CYCLE_RISE:
        return _half_cosine(CYCLE_FIRST, 1.0, progress / CYCLE_RISE)
    return _half_cosine(1.0, CYCLE_LAST, (progress - CYCLE_RISE) / (1 - CYCLE_RISE))


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
