"""Claims: of several processes that want to make the same file or folder, one does.

A claim is a lock on an empty file beside it. The system frees it when the process ends, however it ends.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from atrous.files import TEMPORARY_PREFIX, output_error

__all__ = ["claimed"]

_TRIES = 16


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim `path`, which need not exist, while the body runs; gives False where another process has the claim.

    It gives False too on file systems that know no locks, and never waits. Threads count as processes.

    Raises OutputError where the folder of `path` cannot be written.
    """
    lock = path.with_name(f"{TEMPORARY_PREFIX}{path.name}.lock")
    file = _locked(lock)
    try:
        yield file is not None
    finally:
        if file is not None:
            with suppress(OSError):  # Windows keeps a file that is open; it is empty, and used again next time
                lock.unlink()
            file.close()


def _locked(lock: Path) -> BinaryIO | None:
    for _ in range(_TRIES):
        try:
            file = lock.open("ab")
        except OSError as error:
            raise output_error(lock, error) from error
        try:
            _lock(file)
        except OSError:
            file.close()
            return None
        # Its last owner may have removed it between our opening and our locking: then the lock is on nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                return file
        file.close()
    return None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
