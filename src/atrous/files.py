"""Files that appear whole or not at all.

A program that is killed while it writes leaves an unreadable file behind. So everything is written under a temporary
name in the same folder, flushed to the disk, and then takes the final name in one step; the old file stays until then.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from atrous.errors import OutputError

__all__ = [
    "TEMPORARY_PREFIX",
    "land",
    "make_folder",
    "open_unbuffered",
    "output_error",
    "replacing",
    "replacing_folder",
    "sha256_of",
    "write_all",
    "write_atomically",
]

TEMPORARY_PREFIX = ".atrous-"
"""How the names of unfinished files begin; what a killed program left can be found and removed by it."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.ENOENT, errno.EEXIST, errno.EISDIR}
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`: afterwards the file holds all of it, or, on failure, what it held before.

    Raises OutputError when the disk is full, the folder does not exist or cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of an empty temporary file in the folder of `path`; what was written there becomes `path`.

    The temporary file keeps the suffix of `path`, because writers choose the format by it. It is flushed to the disk
    before it takes the final name, and removed when the body fails.

    Raises OutputError for a full disk, a missing folder or one that cannot be written. Other errors of the body pass.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{path.suffix if len(path.suffix) < 32 else ''}"
    try:
        # not tempfile: it makes files that only their owner can read, and the final file would stay so
        temporary.open("xb").close()
        yield temporary
        land(temporary, path)
    except OSError as error:
        if not _is_about(error, path.parent):
            raise
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, *, ours: Callable[[str], bool]) -> Iterator[Path]:
    """Give the path of an empty temporary folder beside `path`; with what was written there it becomes `path`.

    A folder that has that name already is taken away, if all names in it are `ours`: what an earlier run wrote. The files
    are flushed to the disk first. When the body fails, the temporary folder is removed and the old one stays.

    Raises OutputError for a folder that holds anything else (before the body), a full disk, or no permission.
    """
    _check_ours(path, ours)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    old = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            _flush(file)
        _flush_folder(temporary)
        _check_ours(path, ours)
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        if not _is_about(error, path.parent) and not _is_about(error, temporary):
            raise
        raise output_error(path, error) from error
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _check_ours(path: Path, ours: Callable[[str], bool]) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path} was not written: it is not a folder. Choose another output folder, or move it away.")
    foreign = next((file.name for file in path.iterdir() if not ours(file.name)), None) if path.exists() else None
    if foreign is not None:
        raise OutputError(
            f"{path} was not written: the folder holds other files, such as {foreign}. "
            "Choose another output folder, or move them away."
        )


def land(temporary: Path, path: Path) -> None:
    """Flush the file `temporary` to the disk and let it take the name `path`, in the same folder, in one step.

    Raises OutputError when that fails; the temporary file is still there then.
    """
    try:
        _flush(temporary)
        os.replace(temporary, path)  # noqa: PTH105 - the name says that an old file is replaced
        _flush_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error


def make_folder(path: Path) -> Path:
    """Make the folder `path` with its parents, if it is not there yet, and return it.

    Raises OutputError when it cannot be made: a file has its name, no permission, a full disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises OSError when it cannot be read: only the caller knows what kind of file it is.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_unbuffered(path: Path, mode: str) -> FileIO:
    """Open a file for writing, mode `wb`, `xb` or `r+b`; for `write_all`. Raises OutputError."""
    try:
        return FileIO(path, mode.replace("b", ""))
    except OSError as error:
        raise output_error(path, error) from error


def write_all(file: FileIO, content: bytes) -> None:
    """Write all of `content`: a file without buffer may take less of it at once. Raises OutputError."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise output_error(Path(file.name), error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """Say what could not be written, where, why, and what to do."""
    reason = error.strerror or str(error)
    folder = _existing_part(path.parent)
    if error.errno in _FULL:
        text = f"{path} was not written: {reason} ({_free(folder)}). Free some space or choose another output folder."
    elif error.errno in _FORBIDDEN:
        text = (
            f"{path} was not written: no permission to write in the folder {folder} ({reason}). "
            "Choose another output folder or change its permissions."
        )
    elif error.errno in _NO_FOLDER:
        blocker = path if path.exists() else folder
        state = "is a file, not a folder" if blocker.is_file() else f"is what exists of {path.parent}"
        if path.is_dir():
            state = "is a folder, not a file"
        text = f"{path} was not written: {blocker} {state} ({reason}). Choose another output path or make its folder."
    else:
        text = f"{path} was not written: {reason}. Check the disk, or choose another output folder."
    return OutputError(text)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Put the new name on the disk too; where a system cannot do that for folders, the file itself is still whole."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def _is_about(error: OSError, folder: Path) -> bool:
    """Whether the error comes from writing here, not from something else that the body did."""
    if error.errno in _FULL or error.errno == errno.EROFS:
        return True
    named = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return not named or any(name == folder or name.parent == folder for name in named)


def _existing_part(folder: Path) -> Path:
    return next((part for part in (folder, *folder.parents) if part.exists()), folder)


def _free(folder: Path) -> str:
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return f"on the disk of {folder}"
    return f"{free / 2**20:.1f} MiB are free on the disk of {folder}"
