"""Ctrl-C and SIGTERM let the step finish, so that the state can be saved; a second one stops at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopAskedError", "StopRequest", "stop_on_signals"]


class StopAskedError(Exception):
    """Ends what takes longer than a step, a validation; the run is saved as it was before."""


class StopRequest:
    """Whether a signal asked to stop; `number` is the signal's, None so far."""

    def __init__(self) -> None:
        self.number: int | None = None

    def check(self) -> None:
        """Raise StopAskedError if a signal has come."""
        if self.number is not None:
            raise StopAskedError


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """While inside, SIGINT and SIGTERM are noted instead of raised; the second one is handled as before.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def take(number: int, frame: FrameType | None) -> None:
        request.number = number
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in before:
        signal.signal(number, take)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
