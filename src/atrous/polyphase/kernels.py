"""The kernels of a filtered convolution, compiled by Numba for this machine. Importing this module imports Numba.

A kernel is a C function of one argument, the address of a `TASK`, and works until no job of the task is left: any
number of threads may run it on the same task. Arrays are given by their addresses, strides count bytes, and channels
come in blocks of 16 (`CHANNELS`), so that an image's and a filter's channels are multiples of 16.

    inputs    image (height, width, channels)          -> left (points, row blocks, blocks, rows, 16)
    products  left, right (points, panels, channels, columns) -> target (points, tiles, panels * columns)
    outputs   target                                   -> result (height, width, out_channels)

A row block is `rows` tiles, a panel `columns` filters: what the registers hold at once.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core import registry

from atrous.polyphase import intrinsics, transforms, vectors
from atrous.polyphase.intrinsics import (
    CHANNELS,
    add_one,
    call,
    filter_inputs,
    filter_outputs,
    look,
    multiply,
    pointer,
    stack,
)
from atrous.polyphase.transforms import SCHEMES

__all__ = [
    "COUNTER_BYTES",
    "TASK",
    "input_kernel",
    "output_kernel",
    "product_kernel",
    "register_block",
    "sequence_kernel",
]

LINE = CHANNELS * 4  # bytes of a block of channels
LOOKS = 1000  # about a microsecond; waiting longer, a thread lets others run

# Counters lie apart from what all threads read, each in a cache line of its own.
COUNTER_BYTES = 128
DONE = 64

# Where `sequence_kernel` finds these in the four words of a task.
WORD_KERNEL, WORD_TASK, WORD_COUNTERS, WORD_JOBS = range(4)

TASK = np.dtype(
    [
        (name, np.int64)
        for name in (
            # the jobs: addresses of the counters (the next one, and how many are done), how many there are, and in how
            # many parts channels or row blocks are divided
            *("counters", "jobs", "parts"),
            # the map and the layer
            *("height", "width", "channels", "out_channels", "rate"),
            # addresses: a whole image and its result; zeros, a place for outputs that do not count, and bias, with as
            # many floats as a pixel has channels; 16 floats, below which no output may be
            *("image", "result", "zeros", "sink", "bias", "lowest"),
            # addresses, from the first tile of this task on: the fields of `Tiling`; bytes that are 1 where a row block
            # needs a product, in rows of `needed_stride`
            *("tops", "lefts", "tile_rows", "tile_columns", "needed", "needed_stride"),
            # the workspaces, and the transformed filters
            *("left", "left_stride", "right", "right_stride", "target", "target_stride", "target_row"),
            # tiles, row blocks, tiles in a row block; blocks of channels, and how many are added up at once; panels
            *("tiles", "row_blocks", "rows", "blocks", "summed", "panels"),
        )
    ]
)
# Numba's type hints leave these out.
cfunc: Any = numba.cfunc
carray: Any = numba.carray  # pyright: ignore[reportPrivateImportUsage]
types: Any = numba.types
_task: Any = numba.from_dtype(TASK)


@cache
def _source_hash() -> str:
    """Of all that a kernel's code is made from: Numba itself looks at this file only."""
    try:
        sources = [Path(str(module.__file__)).read_bytes() for module in (intrinsics, transforms, vectors)]
    except OSError:  # the package is in an archive
        return ""
    return hashlib.sha256(b"".join(sources)).hexdigest()[:16]


def _compiled(function: Callable[..., Any], argument: Any = None) -> Any:
    """Compile a kernel, and keep it on disk where that is possible."""
    signature = types.void(types.CPointer(argument or _task))
    function.__qualname__ = f"{function.__name__}_{_source_hash()}"
    try:
        return cfunc(signature, cache=True)(function)
    except (RuntimeError, OSError):  # no folder to keep it in, or no room
        return cfunc(signature)(function)


@cache
def input_kernel(vertical: str, horizontal: str, width: int) -> Any:
    """Gather tiles, with zeros around the image, and transform them; `width` floats at once."""
    down, across = SCHEMES[vertical].inputs, SCHEMES[horizontal].inputs
    entries = down * across
    vectors = CHANNELS // width

    def polyphase_inputs(address: Any) -> None:
        task = carray(address, 1)[0]
        tops = carray(pointer(task.tops), task.tiles, np.int32)
        lefts = carray(pointer(task.lefts), task.tiles, np.int32)
        place = stack(entries)
        table = carray(place, entries, np.int64)
        while True:
            job = add_one(task.counters)
            if job >= task.jobs:
                break
            row_block, part = job // task.parts, job % task.parts
            begin, end = task.blocks * part // task.parts, task.blocks * (part + 1) // task.parts
            first = row_block * task.rows
            for tile in range(first, min(first + task.rows, task.tiles)):
                for i in range(down):
                    y = tops[tile] + i * task.rate
                    for j in range(across):
                        x = lefts[tile] + j * task.rate
                        inside = 0 <= y < task.height and 0 <= x < task.width
                        pixel = task.image + (y * task.width + x) * task.channels * 4
                        table[i * across + j] = pixel if inside else task.zeros
                target = task.left + (row_block * task.blocks * task.rows + tile - first) * LINE
                for block in range(begin, end):
                    for vector in range(vectors):
                        shift = vector * width * 4
                        to = target + block * task.rows * LINE + shift
                        filter_inputs(vertical, horizontal, width, place, block * LINE + shift, to, task.left_stride)
            add_one(task.counters + DONE)

    return _compiled(polyphase_inputs)


@cache
def product_kernel(rows: int, columns: int, width: int) -> Any:
    """The matrix products, one for each point, in register blocks of `rows` tiles by `columns` filters."""
    panel_line = CHANNELS * columns * 4

    def polyphase_products(address: Any) -> None:
        task = carray(address, 1)[0]
        while True:
            job = add_one(task.counters)
            if job >= task.jobs:
                break
            part, panel, point = job % task.parts, job // task.parts % task.panels, job // task.parts // task.panels
            left = task.left + point * task.left_stride
            right = task.right + point * task.right_stride + panel * task.blocks * panel_line
            target = task.target + point * task.target_stride + panel * columns * 4
            needed = carray(pointer(task.needed + point * task.needed_stride), task.row_blocks, np.uint8)
            begin, end = task.row_blocks * part // task.parts, task.row_blocks * (part + 1) // task.parts
            for block in range(0, task.blocks, task.summed):
                fresh = 1 if block == 0 else 0
                for row_block in range(begin, end):
                    count = min(task.summed, task.blocks - block) if needed[row_block] else 0
                    if count > 0 or fresh == 1:
                        lines = left + (row_block * task.blocks + block) * rows * LINE
                        to = target + row_block * rows * task.target_row
                        multiply(
                            rows, columns, width, lines, right + block * panel_line, to, task.target_row, count, fresh
                        )
            add_one(task.counters + DONE)

    return _compiled(polyphase_products)


@cache
def output_kernel(vertical: str, horizontal: str, width: int) -> Any:
    """Transform the products back, add the bias, apply the lower bound and scatter."""
    down, across = SCHEMES[vertical].outputs, SCHEMES[horizontal].outputs
    before_y, before_x = SCHEMES[vertical].overlap, SCHEMES[horizontal].overlap
    entries = down * across

    def polyphase_outputs(address: Any) -> None:
        task = carray(address, 1)[0]
        tops = carray(pointer(task.tops), task.tiles, np.int32)
        lefts = carray(pointer(task.lefts), task.tiles, np.int32)
        counts_y = carray(pointer(task.tile_rows), task.tiles, np.int32)
        counts_x = carray(pointer(task.tile_columns), task.tiles, np.int32)
        place = stack(entries)
        table = carray(place, entries, np.int64)
        vectors = task.out_channels // width
        while True:
            job = add_one(task.counters)
            if job >= task.jobs:
                break
            row_block, part = job // task.parts, job % task.parts
            begin, end = vectors * part // task.parts, vectors * (part + 1) // task.parts
            first = row_block * task.rows
            for tile in range(first, min(first + task.rows, task.tiles)):
                for i in range(down):
                    y = tops[tile] + (i + before_y) * task.rate
                    for j in range(across):
                        x = lefts[tile] + (j + before_x) * task.rate
                        counts = i < counts_y[tile] and j < counts_x[tile]
                        pixel = task.result + (y * task.width + x) * task.out_channels * 4
                        table[i * across + j] = pixel if counts else task.sink
                source = task.target + tile * task.target_row
                for vector in range(begin, end):
                    at = vector * width * 4
                    filter_outputs(
                        vertical,
                        horizontal,
                        width,
                        source + at,
                        task.target_stride,
                        task.bias + at,
                        task.lowest,
                        place,
                        at,
                    )
            add_one(task.counters + DONE)

    return _compiled(polyphase_outputs)


@cache
def sequence_kernel() -> Any:
    """Work on task after task; `words`: how many, the address of a C function that yields, then four words for each.

    These are the addresses of its kernel, itself and its counters, and its number of jobs. A task begins when all jobs
    of the one before are done, also where some threads have not come yet: on a machine that other programs use too,
    waiting for every thread after every kernel takes longer than the kernels.
    """

    def polyphase_sequence(words: Any) -> None:
        tasks = carray(words, 2)[0]
        yield_ = carray(words, 2)[1]
        list_ = carray(words, 2 + 4 * tasks)
        for index in range(2, 2 + 4 * tasks, 4):
            call(list_[index + WORD_KERNEL], list_[index + WORD_TASK])
            looks = 0
            while look(list_[index + WORD_COUNTERS] + DONE) < list_[index + WORD_JOBS]:
                looks += 1
                if looks % LOOKS == 0:
                    call(yield_, 0)

    return _compiled(polyphase_sequence, types.intp)


def register_block(out_channels: int) -> tuple[int, int, int]:
    """How a matrix product is cut for this machine's registers: (rows, columns, floats in a vector).

    AVX-512 has 32 registers of 16 floats: 24 sums, 4 filters' values. Others get what fits 16 registers of 8 floats
    (AVX2), which is also right for 32 of 4 (NEON): 12 sums of 8.
    """
    target: Any = registry.cpu_target.target_context
    features = str(target.codegen().magic_tuple()[2])
    if "+avx512f" not in features:
        return 6, 16, 8
    return (6, 64, 16) if out_channels > 32 else (6, 32, 16)
