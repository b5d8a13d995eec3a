"""The few numbers of a TIFF's first directory that decide how it is read, in thirty microseconds and without GDAL."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["TiffHeader", "read_tiff_header"]

_CLASSIC, _BIG = (b"II*\x00", b"MM\x00*"), (b"II+\x00", b"MM\x00+")
_WIDTH, _HEIGHT, _PHOTOMETRIC, _ORIENTATION = 0x0100, 0x0101, 0x0106, 0x0112
_WHITE_IS_ZERO = 0  # of _PHOTOMETRIC
_FORMATS = {3: "H", 4: "I", 16: "Q"}  # TIFF's types SHORT, LONG, LONG8
_MOST_ENTRIES = 4096  # of a directory; some sixty tags exist


@dataclass(frozen=True, kw_only=True)
class TiffHeader:
    """`size` is (height, width) as stored, with 0 for a number that is not there.

    `is_plain` says that pixels are stored as they are shown: without EXIF turn, and not with 0 as white.
    """

    size: tuple[int, int]
    is_plain: bool


def read_tiff_header(path: Path) -> TiffHeader | None:
    """Read the header; None for what is no regular file, cannot be read, or does not begin as a TIFF."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return None
        with path.open("rb") as file:
            head = file.read(16)
            if head[:4] not in _CLASSIC + _BIG:
                return None
            tags = _tags(file, head)
    except (OSError, ValueError):
        return None
    is_plain = tags.get(_ORIENTATION, 1) not in range(2, 9) and tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO
    return TiffHeader(size=(tags.get(_HEIGHT, 0), tags.get(_WIDTH, 0)), is_plain=is_plain)


def _tags(file: BinaryIO, head: bytes) -> dict[int, int]:
    """The single numbers in the first directory by their tags; as far as it is whole."""
    order = "<" if head[:2] == b"II" else ">"
    is_big = head[:4] in _BIG
    count_format, entry_bytes, value_at = ("Q", 20, 12) if is_big else ("H", 12, 8)
    tags: dict[int, int] = {}
    try:
        (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)
        file.seek(at)
        (count,) = struct.unpack(order + count_format, file.read(struct.calcsize(order + count_format)))
        entries = file.read(entry_bytes * min(count, _MOST_ENTRIES))
        for start in range(0, len(entries) - entry_bytes + 1, entry_bytes):
            tag, kind = struct.unpack_from(order + "HH", entries, start)
            if kind in _FORMATS:
                (tags[tag],) = struct.unpack_from(order + _FORMATS[kind], entries, start + value_at)
    except (struct.error, OSError, OverflowError, ValueError):
        pass
    return tags
