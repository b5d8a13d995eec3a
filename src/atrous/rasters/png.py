"""A PNG of class numbers written row by row: Pillow needs the whole picture in memory.

PNG (ISO/IEC 15948): chunks of length, kind, data and CRC; the rows, each after a byte that names its filter, are one zlib
stream cut into IDAT chunks. Class numbers are not filtered: neighbours are mostly equal, and their differences are not
smaller in meaning.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from atrous.labels import Colour

__all__ = ["MAX_PNG_SIDE", "write_png"]

MAX_PNG_SIDE = 2**31 - 1
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # colour types
_NO_FILTER = 0
_LEVEL = 6


def write_png(
    file: BinaryIO, bands: Iterable[NDArray[np.integer[Any]]], *, size: tuple[int, int], palette: list[Colour] | None
) -> None:
    """Write rows (h, W), top to bottom, as a palette PNG of 8 bits, or without palette as a grey one of 16 bits.

    The bytes depend on how the rows are cut into `bands`. Raises OSError as `file` does.
    """
    height, width = size
    depth, kind = (16, _GREY) if palette is None else (8, _PALETTE)
    file.write(_SIGNATURE)
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    if palette is not None:
        _write_chunk(file, b"PLTE", bytes(channel for colour in palette for channel in colour))
    stream = zlib.compressobj(_LEVEL)
    for band in bands:
        _write_chunk(file, b"IDAT", stream.compress(_filtered(band, depth)))
    _write_chunk(file, b"IDAT", stream.flush())
    _write_chunk(file, b"IEND", b"")


def _filtered(band: NDArray[np.integer[Any]], depth: int) -> bytes:
    """Rows as PNG has them: a filter's number, then the values, the high byte first."""
    values = np.ascontiguousarray(band, dtype=">u2" if depth == 16 else np.uint8).view(np.uint8)
    rows = np.full((values.shape[0], values.shape[1] + 1), _NO_FILTER, np.uint8)
    rows[:, 1:] = values
    return rows.tobytes()


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if kind == b"IDAT" and not data:
        return
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))
