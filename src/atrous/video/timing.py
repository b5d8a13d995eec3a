"""When a frame is shown, exactly: as a fraction of a second, later with every frame."""

from fractions import Fraction
from typing import Any

__all__ = ["Clock"]

USUAL_RATE = Fraction(25)  # where a file says nothing at all
FINEST = Fraction(1, 90_000)  # MPEG's clock, for a file without a time base


class Clock:
    """Reads the times of a clip's frames in the order in which they are shown.

    Times are the file's own. A frame without one, or with one that is not later than the frame's before, comes one frame
    or one tick after that; `mended` counts those.
    """

    def __init__(self, time_base: Fraction | None, rate: Fraction | None) -> None:
        self.time_base = time_base or FINEST
        """The unit of the file's times, seconds."""
        self._interval = 1 / rate if rate else 1 / USUAL_RATE
        self._last: Fraction | None = None
        self.mended = 0

    def read(self, frame: Any) -> tuple[Fraction, Fraction | None]:
        """Time and duration of the next frame, seconds; None for a duration that is not stated."""
        base = frame.time_base or self.time_base
        if frame.pts is None:
            self.mended += 1
            time = Fraction(0) if self._last is None else self._last + self._interval
        else:
            time = frame.pts * base
            if self._last is not None and time <= self._last:
                self.mended += 1
                time = self._last + self.time_base
        self._last = time
        return time, frame.duration * base if frame.duration else None
