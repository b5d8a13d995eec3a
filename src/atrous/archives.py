"""Unpacking an archive without trusting it: plain files and folders only, below one new folder, and no more than fits.

Neither tarfile's nor zipfile's own `extractall` is used. A member's name is only taken apart and checked; links, devices
and all else that is no file or folder end the unpacking, and what was written till then is removed.
"""

import gzip
import secrets
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from atrous.errors import AtrousError, DataError, OutputError
from atrous.files import TEMPORARY_PREFIX, make_folder, open_unbuffered, output_error, write_all

__all__ = ["Limits", "unpack"]

Place = Callable[[PurePosixPath], PurePosixPath | None]

NAME_BYTES = 255  # of one part of a path: what common file systems hold
PATH_BYTES = 1024  # of a member's whole path
PATH_PARTS = 32
FREE_BYTES = 2**20  # what a small archive may hold whatever its ratio
CHUNK_BYTES = 2**18
HEADER_BYTES = 2**14  # tarfile reads a long name or a PAX header of any stated size at once, and searches it

_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789")}
_TURNING = {*"\u200e\u200f\u061c", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much an archive may hold. `ratio`: its content over its own size."""

    members: int = 100_000
    total_bytes: int = 2**34
    ratio: int = 100


class _RefusedError(Exception):
    """The archive holds something that is not unpacked."""


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    is_folder: bool
    size: int
    open: Callable[[], _Source]


def unpack(
    archive: Path,
    folder: Path,
    *,
    place: Place | None = None,
    limits: Limits | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Unpack a .tar, .tar.gz or .zip into the new folder `folder`, whole or not at all; return the number of files.

    Permissions, owners and times in the archive are not used. The content is recognised by its first bytes.

    Args:
        archive: the file.
        folder: must not exist; its parents are made. It appears when everything is in it.
        place: gives for a member's path the path below `folder`, or None for one that is not wanted. By default its own.
        limits: what is too much.
        progress: called with the number of files after each.

    Raises:
        DataError: another or a damaged file; a member that is no plain file or folder, that has an unsafe or doubled
            name, or too many or too large ones.
        OutputError: `folder` exists, or cannot be written.
    """
    if folder.exists():
        raise OutputError(
            f"{folder} exists already. Expected a new folder to unpack into. Remove it, or choose another."
        )
    temporary = folder.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    make_folder(temporary)
    try:
        allowed = limits or Limits()
        size = archive.stat().st_size
        capacity = min(allowed.total_bytes, max(allowed.ratio * size, FREE_BYTES))
        work = _Unpacking(temporary, place or _own_place, allowed.members, capacity, progress)
        with archive.open("rb") as file:
            for member in _members(file, capacity):
                work.take(member)
        _rename(temporary, folder)
    except AtrousError:
        raise
    except _RefusedError as error:
        raise _refused(archive, str(error)) from error
    except Exception as error:  # a damaged archive makes the readers raise a dozen kinds
        raise _refused(archive, f"it cannot be read ({type(error).__name__}: {error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return work.files


class _Unpacking:
    """Writes members below `root`, counting."""

    def __init__(
        self, root: Path, place: Place, members: int, capacity: int, progress: Callable[[int], None] | None
    ) -> None:
        self.files = 0
        self._root = root.resolve()
        self._place = place
        self._members_left = members
        self._bytes_left = capacity
        self._progress = progress
        self._is_folder: dict[str, bool] = {}

    def take(self, member: _Member) -> None:
        self._members_left -= 1
        if self._members_left < 0:
            raise _RefusedError("it has too many members")
        path = _safe_path(member.name)
        if member.size > self._bytes_left:
            raise _RefusedError(f"{_shown(member.name)} makes it too large for its own size or the limit")
        if path is None:  # the root itself
            return
        self._remember(path, member)
        wanted = self._place(path)
        if wanted is None:
            return
        target = self._root.joinpath(*wanted.parts)
        # _safe_path made sure of it already; this holds whatever `place` gives
        if not target.resolve().is_relative_to(self._root):
            raise _RefusedError(f"{_shown(member.name)} leads out of the folder")
        if member.is_folder:
            make_folder(target)
            return
        make_folder(target.parent)
        self._copy(member, target)
        self.files += 1
        if self._progress is not None:
            self._progress(self.files)

    def _remember(self, path: PurePosixPath, member: _Member) -> None:
        """Refuse a name that is there already, or would be on a system that takes A and a for the same."""
        keys = [unicodedata.normalize("NFC", str(part)).casefold() for part in (path, *path.parents[:-1])]
        if not member.is_folder and keys[0] in self._is_folder:
            raise _RefusedError(f"{_shown(member.name)} is there twice")
        if not all(self._is_folder.setdefault(key, True) for key in keys[1:]):
            raise _RefusedError(f"{_shown(member.name)} lies in a file")
        if not self._is_folder.setdefault(keys[0], member.is_folder) and member.is_folder:
            raise _RefusedError(f"{_shown(member.name)} is there twice")

    def _copy(self, member: _Member, target: Path) -> None:
        left = member.size
        with open_unbuffered(target, "xb") as file, closing(member.open()) as source:
            while chunk := source.read(min(CHUNK_BYTES, left + 1)):
                left -= len(chunk)
                self._bytes_left -= len(chunk)
                if left < 0 or self._bytes_left < 0:
                    raise _RefusedError(f"{_shown(member.name)} holds more than it says")
                write_all(file, chunk)
        if left:
            raise _RefusedError(f"{_shown(member.name)} ends too early")


def _members(file: IO[bytes], capacity: int) -> Iterator[_Member]:
    head = file.read(512)
    file.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zip_members(file)
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(file) as unzipped:
            yield from _tar_members(_TarStream(cast("IO[bytes]", unzipped), capacity + FREE_BYTES))
    elif len(head) == 512 and head.strip(b"\0"):
        yield from _tar_members(_TarStream(file, capacity + FREE_BYTES))
    else:
        raise _RefusedError("it is no .tar, .tar.gz or .zip")


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _RefusedError(f"{_shown(info.orig_filename)} is no plain file or folder")
            if info.flag_bits & 1:
                raise _RefusedError(f"{_shown(info.orig_filename)} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _RefusedError(f"{_shown(info.orig_filename)} is compressed in a way that is not read")
            # orig_filename: zipfile cuts its own copy of the name at a NUL
            yield _Member(
                name=info.orig_filename,
                is_folder=info.is_dir() or kind == stat.S_IFDIR,
                size=info.file_size,
                open=lambda info=info: archive.open(info),
            )


def _tar_members(stream: "_TarStream") -> Iterator[_Member]:
    source: Any = stream  # tarfile asks for read, seek and tell only
    with tarfile.open(fileobj=source, mode="r:", encoding="utf-8", errors="strict") as archive:
        for info in archive:
            if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or info.issparse():
                raise _RefusedError(f"{_shown(info.name)} is no plain file or folder")
            if info.size < 0:
                raise _RefusedError(f"{_shown(info.name)} has a size below 0")
            stream.limit_content(info.size)
            yield _Member(name=info.name, is_folder=info.isdir(), size=info.size, open=lambda: _Content(stream))
        if stream.last_header != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
            raise _RefusedError("it is damaged or cut off")
        stream.read_to_end()


class _TarStream:
    """What tarfile reads from: forwards only, not beyond `capacity`, and no large header."""

    def __init__(self, file: IO[bytes], capacity: int) -> None:
        self._file = file
        self._capacity = capacity
        self._position = 0
        self._content = 0
        self.last_header = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        if not self._position <= position <= self._capacity:
            raise _RefusedError("its headers lead backwards, or it is too large for its own size")
        if position > self._position:
            self._position = self._file.seek(position)
        return self._position

    def read(self, size: int) -> bytes:
        """A header."""
        if not 0 <= size <= HEADER_BYTES:
            raise _RefusedError("it has a header that is too long")
        self.last_header = self._read(size)
        return self.last_header

    def limit_content(self, size: int) -> None:
        """Give `content` this many bytes."""
        self._content = size

    def content(self, size: int) -> bytes:
        """A piece of the current member."""
        chunk = self._read(min(size, self._content))
        self._content -= len(chunk)
        return chunk

    def read_to_end(self) -> None:
        """Go to the file's end, where gzip compares its checksum."""
        while self._read(CHUNK_BYTES):
            pass

    def _read(self, size: int) -> bytes:
        chunk = self._file.read(size)
        self._position += len(chunk)
        if self._position > self._capacity:
            raise _RefusedError("it is too large for its own size")
        return chunk


@dataclass(frozen=True)
class _Content:
    stream: _TarStream

    def read(self, size: int, /) -> bytes:
        return self.stream.content(size)

    def close(self) -> None:
        pass


def _safe_path(name: str) -> PurePosixPath | None:
    """The path that a member's name means, None for the root; refuses all that is not plainly below the root."""
    if not name or any(unicodedata.category(letter) in ("Cc", "Cs") or letter in _TURNING for letter in name):
        raise _RefusedError(f"{_shown(name)} is no plain name")
    if name.startswith("/") or "\\" in name or ":" in name:
        raise _RefusedError(f"{_shown(name)} is not a path below the folder")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if len(parts) > PATH_PARTS or len(name.encode()) > PATH_BYTES:
        raise _RefusedError(f"{_shown(name)} is too long")
    for part in parts:
        if part == "..":
            raise _RefusedError(f"{_shown(name)} leads out of the folder")
        if len(part.encode()) > NAME_BYTES:
            raise _RefusedError(f"{_shown(name)} is too long")
        if part.endswith((".", " ")) or part.split(".")[0].casefold() in _RESERVED:
            raise _RefusedError(f"{_shown(name)} is no name on every system")
    return PurePosixPath(*parts) if parts else None


def _own_place(path: PurePosixPath) -> PurePosixPath | None:
    return path


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        raise output_error(folder, error) from error


def _refused(archive: Path, found: str) -> DataError:
    return DataError(
        f"{archive} was not unpacked: {found}. Expected plain files and folders, each once, below one folder, not over "
        "100 times the archive's own size. Fetch it again from its source, or unpack it yourself if you trust it."
    )


def _shown(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:60]}...({len(name)} letters)"
