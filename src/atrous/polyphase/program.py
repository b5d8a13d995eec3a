"""The list of kernel calls for one layer and one size of map, made once and run for each image.

This module imports Numba.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from atrous.polyphase import kernels, threads, workspace
from atrous.polyphase.intrinsics import CHANNELS
from atrous.polyphase.tiles import tile_map
from atrous.polyphase.transforms import SCHEMES, amplification

__all__ = ["Layer", "Program"]

# Places with the same address modulo 4096 share a set of the first-level cache; those of different points should not.
STAGGER = 17 * 64
# Jobs for each thread and kernel, at least: enough to even out threads of different speed.
JOBS = 4
# Tiles are worked on in chunks: every chunk reads all filters again, so its workspace is as large as they are, but small
# enough that memory does not grow with the image. The least is a thread's share of the second-level cache or so.
LEAST_WORKSPACE = 1 << 20
MOST_WORKSPACE = 96 << 20
# Sums of float32 products are closed after this many blocks of channels and added up from there, which makes their error
# smaller than one long sum's: after 128 channels where the scheme amplifies errors, otherwise after 256.
SUMMED_CAREFULLY = 8
SUMMED = 16


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What the kernels need to know of a layer.

    Attributes:
        channels, out_channels: multiples of 16.
        rows, columns, width: the register block, see `kernels.register_block`.
    """

    vertical: str
    horizontal: str
    rate: int
    channels: int
    out_channels: int
    rows: int
    columns: int
    width: int

    @property
    def points(self) -> int:
        """How many products a tile takes."""
        return SCHEMES[self.vertical].points * SCHEMES[self.horizontal].points

    @property
    def panels(self) -> int:
        """In how many pieces the filters lie."""
        return -(-self.out_channels // self.columns)

    @property
    def filter_bytes(self) -> int:
        """Memory of the transformed filters."""
        return self.points * self.panels * self.columns * self.channels * 4

    def kernels(self) -> tuple[int, int, int]:
        """The addresses of the three kernels; compiles them, or loads them from Numba's cache."""
        return (
            kernels.input_kernel(self.vertical, self.horizontal, self.width).address,
            kernels.product_kernel(self.rows, self.columns, self.width).address,
            kernels.output_kernel(self.vertical, self.horizontal, self.width).address,
        )


def _set(tasks: np.ndarray, /, **fields: int | np.ndarray) -> None:
    for name, value in fields.items():
        tasks[name] = value


class Program:
    """Runs a layer on maps of one size, (height, width), with `count` threads."""

    def __init__(self, layer: Layer, height: int, width: int, count: int) -> None:
        self.layer, self.threads = layer, count
        self.tiling = tile_map(height, width, layer.rate, layer.vertical, layer.horizontal)
        row_blocks = -(-len(self.tiling) // layer.rows)
        block_bytes = 4 * layer.points * layer.rows * (layer.channels + layer.panels * layer.columns)
        limit = min(max(layer.filter_bytes, count * LEAST_WORKSPACE), MOST_WORKSPACE)
        chunk = min(max(limit // block_bytes, 1), row_blocks)
        chunks = -(-row_blocks // chunk)
        chunk = -(-row_blocks // chunks)
        left = chunk * layer.rows * layer.channels * 4 + STAGGER
        target = chunk * layer.rows * layer.panels * layer.columns * 4 + STAGGER
        self._target = left * layer.points
        self.bytes = (left + target) * layer.points
        starts = np.arange(0, len(self.tiling), layer.rows)
        self._needed = np.logical_or.reduceat(self.tiling.needed, starts, axis=1).astype(np.uint8)
        tasks = np.zeros((chunks, 3), kernels.TASK)
        _set(tasks, height=height, width=width, left_stride=left, target_stride=target, needed_stride=row_blocks)
        for index in range(chunks):
            self._fill(tasks[index], index * chunk, min(chunk, row_blocks - index * chunk))
        self._tasks = tasks.reshape(-1)
        self._offsets = np.arange(len(self._tasks))
        self._sequence = kernels.sequence_kernel().address
        self._words = np.zeros(2 + 4 * len(self._tasks), np.int64)
        self._words[:2] = len(self._tasks), threads.yield_address()
        self._words[2 + kernels.WORD_KERNEL :: 4] = np.tile(layer.kernels(), chunks)
        self._words[2 + kernels.WORD_TASK :: 4] = self._offsets * kernels.TASK.itemsize
        self._words[2 + kernels.WORD_COUNTERS :: 4] = self._offsets * kernels.COUNTER_BYTES
        self._words[2 + kernels.WORD_JOBS :: 4] = self._tasks["jobs"]

    @property
    def products(self) -> int:
        """Multiply-adds of the matrix products, with the tiles that only fill a row block."""
        return int(self._needed.sum()) * self.layer.rows * self.layer.channels * self.layer.out_channels

    def _fill(self, tasks: np.ndarray, first: int, row_blocks: int) -> None:
        """The three tasks for `row_blocks` row blocks from the one numbered `first` on."""
        layer, tiling = self.layer, self.tiling
        tile = first * layer.rows
        blocks = layer.channels // CHANNELS
        careful = max(amplification(SCHEMES[name]) for name in (layer.vertical, layer.horizontal)) > 10
        places = {"tops": tiling.tops, "lefts": tiling.lefts, "tile_rows": tiling.rows, "tile_columns": tiling.columns}
        _set(
            tasks,
            channels=layer.channels,
            out_channels=layer.out_channels,
            rate=layer.rate,
            right_stride=layer.filter_bytes // layer.points,
            target_row=layer.panels * layer.columns * 4,
            tiles=min(row_blocks * layer.rows, len(tiling) - tile),
            row_blocks=row_blocks,
            rows=layer.rows,
            blocks=blocks,
            summed=SUMMED_CAREFULLY if careful else SUMMED,
            panels=layer.panels,
            needed=self._needed.ctypes.data + first,
            **{name: array.ctypes.data + tile * array.itemsize for name, array in places.items()},
        )
        jobs = np.array([row_blocks, layer.points * layer.panels, row_blocks])
        most = np.array([blocks, row_blocks, layer.out_channels // CHANNELS])
        parts = np.clip(-(-JOBS * self.threads // jobs), 1, most)
        _set(tasks, parts=parts, jobs=jobs * parts)

    def run(self, image: int, result: int, **constants: Tensor) -> None:
        """Filter the image at address `image` (height, width, channels) into `result` (height, width, out_channels).

        `constants` are right, bias, lowest, zeros and sink, see `kernels.TASK`.
        """
        tasks = self._tasks.copy()
        counters = np.zeros((len(tasks), kernels.COUNTER_BYTES // 8), np.int64)
        with workspace.borrow(self.bytes // 4) as memory:
            _set(
                tasks,
                image=image,
                result=result,
                left=memory.data_ptr(),
                target=memory.data_ptr() + self._target,
                counters=counters.ctypes.data + self._offsets * kernels.COUNTER_BYTES,
                **{name: value.data_ptr() for name, value in constants.items()},
            )
            words = self._words.copy()
            words[2 + kernels.WORD_TASK :: 4] += tasks.ctypes.data
            words[2 + kernels.WORD_COUNTERS :: 4] += counters.ctypes.data
            threads.run(self._sequence, words.ctypes.data, self.threads)
