"""Which files are videos: by their first bytes, never by searching through all that FFmpeg can read.

FFmpeg knows some three hundred formats. Some of them are lists of other files or addresses (ffconcat, HLS, DASH), and a
file that is named .mp4 may hold one: opened without care, it makes the decoder read whatever the list names.
"""

from collections.abc import Callable
from pathlib import Path

__all__ = ["CONTAINERS", "VIDEO_SUFFIXES", "container_of", "is_video"]

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts"})
FOREIGN_SUFFIXES = frozenset(
    {".mpg", ".mpeg", ".vob", ".wmv", ".flv", ".ogv", ".rm", ".m3u8", ".m3u", ".mpd", ".ffconcat"}
)
"""Videos and playlists that are not read; a file with such a name gets the message about videos, not about images."""
_AMBIGUOUS = frozenset({".ts", ".mts"})  # TypeScript too

CONTAINERS = "mp4, mov, mkv, webm, avi or MPEG-TS"
HEAD_BYTES = 400  # two packets of MPEG-TS, with the four bytes more that .m2ts has before each
_QUICKTIME_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
_SYNC = 0x47  # ISO/IEC 13818-1: every packet of 188 bytes begins so


def _is_quicktime(head: bytes) -> bool:
    return head[4:8] in _QUICKTIME_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS)


def _is_transport(head: bytes) -> bool:
    return any(len(head) > at + step and head[at] == head[at + step] == _SYNC for at, step in ((0, 188), (4, 192)))


# The name is that of FFmpeg's reader, which is called by it.
_SIGNS: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("mov", _is_quicktime),
    ("matroska", lambda head: head[:4] == b"\x1a\x45\xdf\xa3"),  # EBML; webm is a part of it
    ("avi", lambda head: head[:4] == b"RIFF" and head[8:11] == b"AVI"),
    ("mpegts", _is_transport),
)


def container_of(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins with `head` (400 bytes or more, if there are); None for any other."""
    return next((name for name, fits in _SIGNS if fits(head)), None)


def is_video(path: Path, *, named: bool = False) -> bool:
    """Whether a file is taken for a video: by its suffix, where that leaves a doubt by its first bytes.

    `named` says that the user named this very file, so that its content counts whatever its suffix.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES - _AMBIGUOUS or (named and suffix in VIDEO_SUFFIXES | FOREIGN_SUFFIXES):
        return True
    return (suffix in _AMBIGUOUS or named) and _begins_as_video(path)


def _begins_as_video(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return False
        with path.open("rb") as file:
            return container_of(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False
