"""Finished rows of a label map, kept on disk beside the output, so that interrupted work goes on where it stopped."""

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from atrous.errors import OutputError
from atrous.files import make_folder, open_unbuffered, output_error, write_all, write_atomically

__all__ = ["RowStore"]

FORMAT_VERSION = 1
_DATA, _STATE = "rows.bin", "rows.json"
_SYNC_SECONDS = 1.0
_SYNC_BYTES = 64 * 2**20
_MOST_STATE_BYTES = 2**20
_PIECE_BYTES = 8 * 2**20


class RowStore:
    """Rows in a plain file of bytes, and a small JSON file that says how many of them are surely on the disk.

    The JSON is written after the rows are flushed, at most once a second or once for 64 MiB: what a killed process
    appended since then is computed again. It carries a CRC-32 of the rows, which is checked when the store is opened.
    A context manager, which notes all rows and keeps the files; `remove` deletes them.
    """

    def __init__(self, folder: Path, *, key: str, size: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self.folder = folder
        self.size = size
        self.dtype = dtype
        self.rows_done = 0
        self._key = key
        self._crc = 0
        self._noted = 0
        self._noted_at = time.monotonic()
        make_folder(folder)
        self._file = open_unbuffered(folder / _DATA, "r+b" if (folder / _DATA).exists() else "xb")

    @classmethod
    def open(cls, folder: Path, *, key: str, size: tuple[int, int], dtype: DTypeLike) -> "RowStore":
        """Go on with the rows in `folder` where key, size and dtype are the same; else begin anew.

        Rows that are damaged are not used: a data file that is too short is taken up to its last whole row, and one whose
        CRC is wrong is begun anew.

        Args:
            folder: made where it does not exist; only this store's two files in it are touched.
            key: whatever decides the rows (fingerprints of input, model, settings), as text.
            size: height and width of the whole label map.
            dtype: uint8 or uint16.

        Raises OutputError where the folder cannot be written.
        """
        kind = np.dtype(dtype)
        if kind not in (np.uint8, np.uint16):
            raise ValueError(f"rows of labels are uint8 or uint16, not {kind}")
        store = cls(folder, key=key, size=size, dtype=kind)
        try:
            store._restore()
        except BaseException:
            store._file.close()
            raise
        return store

    def append(self, rows: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Add rows (h, width) below those that are there.

        Raises ValueError for another width or dtype, or more rows than the map has; OutputError for a full disk.
        """
        if rows.ndim != 2 or rows.shape[1] != self.size[1] or rows.dtype != self.dtype:
            raise ValueError(f"rows of {rows.shape} {rows.dtype} do not belong in {self.size} {self.dtype}")
        if self.rows_done + rows.shape[0] > self.size[0]:
            raise ValueError(f"{rows.shape[0]} rows after {self.rows_done} are more than {self.size[0]}")
        content = np.ascontiguousarray(rows).astype(self.dtype.newbyteorder("<"), copy=False).tobytes()
        write_all(self._file, content)
        self._crc = zlib.crc32(content, self._crc)
        self.rows_done += rows.shape[0]
        pending = (self.rows_done - self._noted) * self._row_bytes
        is_late = time.monotonic() - self._noted_at >= _SYNC_SECONDS
        if is_late or pending >= _SYNC_BYTES or self.rows_done == self.size[0]:
            self.flush()

    def flush(self) -> None:
        """Put all rows on the disk, then note their number. Raises OutputError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error(self.folder / _DATA, error) from error
        state = {**self._identity(), "rows": self.rows_done, "crc32": self._crc}
        write_atomically(self.folder / _STATE, json.dumps(state).encode())
        self._noted = self.rows_done
        self._noted_at = time.monotonic()

    def read(self, piece: int = 1024) -> Iterator[NDArray[np.uint8] | NDArray[np.uint16]]:
        """All rows so far, in order, `piece` at a time. Raises OutputError where they can no longer be read."""
        rows_done = self.rows_done
        with (self.folder / _DATA).open("rb") as file:
            for start in range(0, rows_done, piece):
                count = min(piece, rows_done - start)
                content = file.read(count * self._row_bytes)
                if len(content) < count * self._row_bytes:
                    raise OutputError(
                        f"{self.folder / _DATA}: ends before row {start + count} of {rows_done}; expected all rows that "
                        "were kept there. It was changed meanwhile: run the command again."
                    )
                values = np.frombuffer(content, self.dtype.newbyteorder("<")).reshape(count, self.size[1])
                yield values.astype(self.dtype, copy=False)

    def remove(self) -> None:
        """Close the store and delete its files, and its folder where nothing else is in it."""
        self._file.close()
        for name in (_STATE, _DATA):  # the state first: without it the data say nothing
            with suppress(OSError):
                (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file.closed:
            return
        try:
            if self._noted != self.rows_done:
                self.flush()
        finally:
            self._file.close()

    @property
    def _row_bytes(self) -> int:
        return self.size[1] * self.dtype.itemsize

    def _identity(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "key": self._key,
            "size": list(self.size),
            "dtype": self.dtype.name,
        }

    def _restore(self) -> None:
        """Find how many rows are whole, and cut the data file after them."""
        state = self._noted_state()
        if state is not None:
            rows, crc = state
            whole = min(rows, (self.folder / _DATA).stat().st_size // max(self._row_bytes, 1))
            self._crc = self._crc_of(whole)
            if whole < rows or self._crc == crc:
                self.rows_done = whole
        if self.rows_done == 0:
            self._crc = 0
        try:
            self._file.truncate(self.rows_done * self._row_bytes)
            self._file.seek(self.rows_done * self._row_bytes)
        except OSError as error:
            raise output_error(self.folder / _DATA, error) from error
        self.flush()

    def _noted_state(self) -> tuple[int, int] | None:
        """(rows, CRC) from the JSON; None where there is none, or it is of another job or damaged."""
        try:
            with (self.folder / _STATE).open("rb") as file:
                state = json.loads(file.read(_MOST_STATE_BYTES))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(state, dict):
            return None
        found = cast("dict[str, Any]", state)
        rows, crc = found.get("rows"), found.get("crc32")
        if any(found.get(name) != value for name, value in self._identity().items()):
            return None
        if type(rows) is not int or type(crc) is not int or not 0 <= rows <= self.size[0]:
            return None
        return rows, crc

    def _crc_of(self, rows: int) -> int:
        crc, left = 0, rows * self._row_bytes
        with (self.folder / _DATA).open("rb") as file:
            while left and (content := file.read(min(left, _PIECE_BYTES))):
                crc = zlib.crc32(content, crc)
                left -= len(content)
        return crc
