"""How far a run has come: by steps, or by the clock. The schedule, the validations and the end all follow from it."""

import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["ClockCourse", "Course", "StepCourse", "is_due"]


class Course(Protocol):
    """Gives the progress of a run, 0 at the start and 1 at the end of training."""

    def progress(self, step: int) -> float:
        """Progress before step number `step` (from 0)."""
        ...

    def seconds_left(self, step: int) -> float | None:
        """Seconds to the end of training, None while it is unknown."""
        ...

    def keep_back(self, seconds: float) -> None:
        """Keep so many seconds for what comes after the last step, where the clock ends the run."""
        ...


class StepCourse:
    """A run of a known number of steps, `done` of which were taken before."""

    def __init__(self, steps: int, *, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps = steps
        self._done = done
        self._clock = clock
        self._start = clock()

    def progress(self, step: int) -> float:
        """Steps done over steps in all."""
        return min(step / self.steps, 1.0)

    def seconds_left(self, step: int) -> float | None:
        """By the mean time of the steps so far."""
        taken = step - self._done
        if taken <= 0:
            return None
        return (self._clock() - self._start) / taken * (self.steps - step)

    def keep_back(self, seconds: float) -> None:
        """Nothing: steps take the time they take."""


class ClockCourse:
    """A run that ends on time: `seconds` from `start`, less `reserve` for what comes after the last step.

    `reserve` may be changed on the way, when the time of a validation is known better. `trained` are the seconds that
    steps took before, in a run that goes on.
    """

    def __init__(
        self,
        seconds: float,
        *,
        start: float,
        reserve: float,
        trained: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.reserve = reserve
        self._end = start + seconds
        self._clock = clock
        self._first_step = clock() - trained

    def progress(self, step: int) -> float:
        """Time since the first step over the time for all steps, the share of one step kept back."""
        now = self._clock()
        length = self._end - self.reserve - self._first_step
        one_step = (now - self._first_step) / step if step else 0.0
        if length <= 0 or now + one_step / 2 >= self._end - self.reserve:
            return 1.0
        return (now - self._first_step) / length

    def seconds_left(self, step: int) -> float | None:
        """Time to the end of training."""
        return max(self._end - self.reserve - self._clock(), 0.0)

    def keep_back(self, seconds: float) -> None:
        """Keep so many seconds from now on."""
        self.reserve = seconds


def is_due(progress: float, last: float, times: int) -> bool:
    """Whether a thing done `times` times over a run falls between progress `last` and `progress`."""
    return int(progress * times) > int(last * times)
