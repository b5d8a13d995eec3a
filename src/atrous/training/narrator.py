"""What a run says while it works: notes that stay, and a status line that is replaced."""

import time
from collections.abc import Callable

__all__ = ["Narrator", "Say", "duration"]

Say = Callable[[str], None]

QUIET_SECONDS = 30.0


def _nothing(text: str) -> None:
    del text


class Narrator:
    """Passes notes and status lines on.

    `note` gets sentences that stay; `status` gets the line of the moment, or, where `live` is false (no terminal), one
    every 30 seconds.
    """

    def __init__(
        self,
        note: Say = _nothing,
        status: Say = _nothing,
        *,
        live: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note = note
        self._status = status
        self._interval = 0.2 if live else QUIET_SECONDS
        self._clock = clock
        self._last = clock()
        self._listeners: list[Say] = []
        self._said: list[str] = []

    def listen(self, listener: Say) -> None:
        """Pass notes to `listener` too (the run's log file), beginning with those already said."""
        for text in self._said:
            listener(text)
        self._listeners.append(listener)

    def note(self, text: str) -> None:
        """Say a sentence that stays."""
        self._note(text)
        self._said.append(text)
        for listener in self._listeners:
            listener(text)

    def status(self, text: Callable[[], str]) -> None:
        """Say how things stand, if it is time to; `text` is only asked for then."""
        now = self._clock()
        if now - self._last >= self._interval:
            self._last = now
            self._status(text())


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 45 s, 3 min 20 s, 2 h 05 min."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
