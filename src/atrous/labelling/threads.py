"""Share one job between the threads that torch was given.

Numba's own parallel loops are not used. Its OpenMP layer loads a second OpenMP library beside the one inside torch, with
as many threads again; without that library its fallback ends the process when two Python threads call at a time. The
kernels here release the interpreter's lock, so a few Python threads do.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

__all__ = ["spread"]

WORTH_SHARING_SECONDS = 3e-4  # waking a thread costs up to a tenth of a millisecond
PARTS_PER_THREAD = 4  # rows differ in work; whoever is done first takes the next part


def spread(work: Callable[[int, int], None], count: int, *, threads: int) -> None:
    """Call `work(first, last)` for ranges that cover 0 to `count`, on several threads where that pays.

    The first range is done at once, and tells how long the rest will take. The caller never waits for a thread that has
    not begun, so a pool that a fork left without its threads only leaves the work to the caller.
    """
    probe = count if threads == 1 else max(1, count // 16)
    begin = time.perf_counter()
    work(0, probe)
    rest = (time.perf_counter() - begin) * (count - probe) / probe
    if probe == count:
        return
    if rest < WORTH_SHARING_SECONDS:
        work(probe, count)
        return
    step = -(-(count - probe) // (threads * PARTS_PER_THREAD))
    parts = deque((first, min(first + step, count)) for first in range(probe, count, step))

    def take_parts() -> None:
        while True:
            try:
                first, last = parts.popleft()
            except IndexError:
                return
            work(first, last)

    helpers = [_pool(threads - 1).submit(take_parts) for _ in range(threads - 1)]
    try:
        take_parts()
    finally:
        parts.clear()
        begun = [helper for helper in helpers if not helper.cancel()]
    for helper in begun:
        helper.result()


@lru_cache(maxsize=1)
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="atrous-labelling")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
