"""Two neighbours for a loop: a thread that makes its items ahead of it, and one that uses its results behind it.

Queues between them are short, so that memory stays flat however long a video is. What fails in a thread fails in the
loop; however the loop ends, the threads have ended when the `with` statements have.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["ahead", "behind"]

T = TypeVar("T")
DEPTH = 2  # items that wait at most: a frame of a 4K video takes 25 MB
CHECK_SECONDS = 0.1  # how often a waiting thread looks whether it is still wanted


class _End:
    """The last thing in a queue; `error` is what ended it, if it was not the end."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def ahead(items: Iterator[T], *, depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Take `items` in a thread of its own, at most `depth` ahead, and give them in their order."""
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def take() -> None:
        end = _End()
        try:
            for item in items:
                if not _put(waiting, item, stopped):
                    return
        except BaseException as error:
            end = _End(error)
        _put(waiting, end, stopped)

    def given() -> Iterator[T]:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    thread = threading.Thread(target=take, name="atrous-ahead", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        stopped.set()
        thread.join()


@contextmanager
def behind(use: Callable[[T], None], *, depth: int = DEPTH) -> Iterator[Callable[[T], None]]:
    """Give a function that hands items over to `use`, which a thread of its own calls with each in their order.

    When the body ends well, all are used before the `with` statement ends; when it fails, those that wait are dropped.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        while not stopped.is_set():
            try:
                item = waiting.get(timeout=CHECK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                return
            try:
                use(item)
            except BaseException as error:
                failure.append(error)
                stopped.set()
            del item

    def hand_over(item: T | _End) -> None:
        if not _put(waiting, item, stopped) and failure:
            raise failure[0]

    thread = threading.Thread(target=work, name="atrous-behind", daemon=True)
    thread.start()
    try:
        yield hand_over
        hand_over(_End())
        thread.join()
        if failure:
            raise failure[0]
    finally:
        stopped.set()
        thread.join()


def _put(waiting: "queue.Queue[T | _End]", item: T | _End, stopped: threading.Event) -> bool:
    """Put an item where it fits, or return False when nobody wants it any more."""
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=CHECK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
