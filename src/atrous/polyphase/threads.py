"""Runs a kernel on all of torch's threads.

The kernels could bring threads of their own (Numba's `prange`), but OpenMP's threads stay awake for milliseconds after
each of torch's operations, and two sets of threads on the same cores then wait for each other: so a kernel is called
from torch's own set, through the entry point that GCC's compiled code uses. Where torch has none (macOS, Windows),
Python's threads run the kernel; it holds no lock of the interpreter.
"""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch

__all__ = ["run", "yield_address"]

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@cache
def _torch_pool() -> Any:
    """GOMP_parallel(function, argument, threads, flags) of the OpenMP library that torch uses, or None."""
    extension: Any = getattr(torch, "_C", None)
    try:
        # A symbol is looked up in a library and in all that it needs, so this is torch's library and no other copy.
        function = ctypes.CDLL(extension.__file__).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


@cache
def yield_address() -> int:
    """The address of a C function that lets other threads run; its argument does not matter."""
    try:
        function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError, TypeError):  # Windows
        function = ctypes.CDLL("kernel32").SwitchToThread
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def _python_pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="atrous-polyphase")


def run(kernel: int, task: int, threads: int) -> None:
    """Run the kernel at address `kernel` on the task at address `task` in up to `threads` threads, and wait."""
    parallel = _torch_pool()
    if threads <= 1:
        _KERNEL(kernel)(task)
    elif parallel is not None:
        parallel(kernel, task, threads, 0)
    else:
        function = _KERNEL(kernel)
        others = [_python_pool(threads - 1).submit(function, task) for _ in range(threads - 1)]
        function(task)
        for other in others:
            if not other.cancel():  # one that has not begun is not waited for
                other.result()
