"""Feature maps on disk: written window by window, read with a border of zeros, as a convolution pads them."""

import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atrous.errors import OutputError

__all__ = ["FeatureFile", "check_room"]


class FeatureFile:
    """A map (h, w, C) float32 in a plain file. Read and written, not mapped, so that it counts as no memory of ours."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        if os.fstat(self._file).st_size != self.bytes:
            os.ftruncate(self._file, self.bytes)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        height, width, channels = self.shape
        return height * width * channels * 4

    def write(self, top: int, left: int, part: NDArray[np.float32]) -> None:
        """Write (rows, columns, C) with its first position at (top, left)."""
        _, width, channels = self.shape
        lines = np.ascontiguousarray(part)
        whole = lines.shape[1] == width
        try:
            for number, line in enumerate([lines] if whole else lines):
                _write_all(self._file, line, ((top + number) * width + left) * channels * 4)
        except OSError as error:
            raise OutputError(f"{self.path} was not written: {error.strerror}. Make room, and start again.") from error

    def read(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Read (rows, columns, C); positions outside the map are 0."""
        height, width, channels = self.shape
        part = np.zeros((rows.stop - rows.start, columns.stop - columns.start, channels), np.float32)
        left, right = max(0, columns.start), min(width, columns.stop)
        for row in range(max(0, rows.start), min(height, rows.stop)):
            line = part[row - rows.start, left - columns.start : right - columns.start]
            _read_all(self._file, line, (row * width + left) * channels * 4)
        return part

    def close(self) -> None:
        """Close the file; it stays on disk."""
        os.close(self._file)


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        OutputError: less than `needed` bytes are free in `folder`.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(
            f"{folder}: {free / 1e9:.1f} GB are free, and features between backbone and head take {needed / 1e9:.1f} GB. "
            "Make room, name another folder with --out, or segment the image in parts."
        )


def _write_all(file: int, data: NDArray[np.float32], position: int) -> None:
    view = data.data.cast("B")
    os.lseek(file, position, os.SEEK_SET)
    while view:
        view = view[os.write(file, view) :]


def _read_all(file: int, into: NDArray[np.float32], position: int) -> None:
    view = into.data.cast("B")
    os.lseek(file, position, os.SEEK_SET)
    while view:
        data = os.read(file, len(view))
        if not data:
            raise OutputError("the file of features has become shorter while it was read; start again.")
        view[: len(data)] = data
        view = view[len(data) :]
