"""Files from the network: resumed where they broke off, checked, and there whole or not at all."""

import errno
import hashlib
import http.client
import re
import secrets
import shutil
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from atrous.claims import claimed
from atrous.errors import DownloadError, OutputError
from atrous.files import TEMPORARY_PREFIX, land, make_folder, open_unbuffered, write_all
from atrous.https import ask, refusal

__all__ = ["Checksum", "Progress", "fetch", "progress_text"]

Progress = Callable[[int, int | None], None]
"""Hears the bytes that are there, and the bytes in all, where the server says how many."""

MAX_BYTES = 8 * 2**30  # several times the largest file that is fetched by name, VOC's 2 GB
TIMEOUT_SECONDS = 30.0  # without a byte
PATIENCE = 5  # broken connections in a row that bring less than ENOUGH_BYTES
ENOUGH_BYTES = 2**20
FIRST_WAIT_SECONDS = 0.5  # doubles each time
CHUNK_BYTES = 2**18

_BUSY = {408, 425, 429, 500, 502, 503, 504}  # RFC 9110, section 15: may succeed when asked again
_NO_WAY = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)")


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """What a file's hash must begin with: all its hexadecimal digits, or the first 8 or more where more are not known."""

    algorithm: str
    digits: str

    def __post_init__(self) -> None:
        if self.algorithm not in ("sha256", "md5") or not re.fullmatch(r"[0-9a-f]{8,64}", self.digits):
            raise ValueError(f"{self.algorithm} {self.digits!r} is no checksum: sha256 or md5, 8 or more digits 0-9a-f")

    def __str__(self) -> str:
        whole = len(self.digits) == hashlib.new(self.algorithm, usedforsecurity=False).digest_size * 2
        name = {"sha256": "SHA-256", "md5": "MD5"}[self.algorithm]
        return f"{name} {self.digits}" if whole else f"SHA-256 that begins with {self.digits}"

    def of(self, path: Path) -> str:
        """The hexadecimal digits of a file, all of them. Raises OSError where it cannot be read."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(self.algorithm, usedforsecurity=False)).hexdigest()


def fetch(
    address: str,
    target: Path,
    *,
    sha256: str | None = None,
    hash_prefix: str | None = None,
    md5: str | None = None,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch the file at `address` to `target`, and return `target`: its whole content, verified, or not there at all.

    What arrived before a connection broke lies in `target` + `.part` and is not fetched again, in this call or a later
    one. Broken connections and busy servers are asked again, a few times. Where another process fetches the same file,
    each fetches its own copy, and the last one stays. A `target` that is already right is left as it is.

    Args:
        address: https; http is allowed to this machine itself. Redirects are followed to https only.
        target: where to; its folder is made.
        sha256: the 64 digits of the file's SHA-256. Give one of `sha256`, `hash_prefix` and `md5`.
        hash_prefix: the first 8 or more of them.
        md5: the 32 digits of its MD5.
        progress: called after every piece.
        max_bytes: a longer file is refused.
        timeout_seconds: how long the server may say nothing.
        wait: how to wait between attempts, in seconds.

    Raises:
        DownloadError: no network; an error of the server; a file with another hash, or one that is too long.
        OutputError: the file cannot be written.
    """
    checksum = _checksum(sha256, hash_prefix, md5)
    reason = refusal(address, allow_local=True)
    if reason:
        raise _error(address, reason, "Correct the address.", checksum)
    make_folder(target.parent)
    with claimed(target) as is_mine:
        if _is_right(target, checksum):
            return target
        part = target.with_name(f"{target.name}.part" if is_mine else f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}.part")
        transfer = _Transfer(
            address=address,
            part=part,
            checksum=checksum,
            progress=progress or _nothing,
            max_bytes=max_bytes,
            timeout_seconds=timeout_seconds,
            wait=wait,
        )
        try:
            transfer.run()
            land(part, target)
        finally:
            if not is_mine:
                part.unlink(missing_ok=True)
    return target


def progress_text(name: str, done: int, total: int | None) -> str:
    """A line about how far a download is, in units of 2**20 bytes."""
    of = "" if total is None else f" of {total / 2**20:.1f}"
    return f"fetching {name}: {done / 2**20:.1f}{of} MB"


class _BrokenOffError(Exception):
    """Nothing final: asking again may help."""


@dataclass(kw_only=True)
class _Transfer:
    """One file on its way into `part`."""

    address: str
    part: Path
    checksum: Checksum
    progress: Progress
    max_bytes: int
    timeout_seconds: float
    wait: Callable[[float], None]
    served: str = ""
    is_measured: bool = False

    def run(self) -> None:
        """Return when `part` holds the right file."""
        is_pieced, is_second = self._size() > 0, False
        while True:
            is_pieced = self._receive_all() or is_pieced
            found = self.checksum.of(self.part)
            if found.startswith(self.checksum.digits):
                return
            size = self._size()
            self.part.unlink()
            # Pieces may be of two different files, and one without a stated length may lack its end: once more, then.
            if is_second or (self.is_measured and not is_pieced):
                what = f"the server gave another file: {size} bytes of {self.served}, {self.checksum.algorithm} {found}"
                step = "Open the address in a browser: a login page or a proxy may answer in the server's place."
                raise _error(self.address, what, step, self.checksum)
            is_pieced, is_second = False, True

    def _receive_all(self) -> bool:
        """Ask until the server says that nothing is missing; return whether it came in several pieces."""
        failures, is_pieced = 0, False
        while True:
            before = self._size()
            try:
                self._receive(before)
            except _BrokenOffError as broken:
                grown = self._size() - before
                is_pieced = is_pieced or grown > 0
                failures = 0 if grown >= ENOUGH_BYTES else failures + 1
                if failures >= PATIENCE:
                    raise self._gave_up(f"{broken} ({failures} times in a row)") from broken
                self.wait(FIRST_WAIT_SECONDS * 2**failures)
            else:
                return is_pieced

    def _receive(self, offset: int) -> None:
        """Append to `part` what it lacks from `offset` on; where the server does not resume, all of it anew."""
        try:
            response = self._ask(offset)
            if response is not None:
                with response:
                    self._store(response, offset)
        except (http.client.HTTPException, OSError) as error:
            raise self._of_network(error) from error

    def _ask(self, offset: int) -> Any:
        """The server's answer, or None where it has nothing from `offset` on: all is there, or not of this file."""
        try:
            return ask(self.address, offset=offset, timeout_seconds=self.timeout_seconds)
        except HTTPError as error:
            with error:
                if error.code == 416 and offset:  # RFC 9110, section 15.5.17: range not satisfiable
                    return None
                what = f"the server answered {error.code} {error.reason}".rstrip()
                if error.code in _BUSY:
                    raise _BrokenOffError(what) from error
                step = "Check the address: the file may have moved."
                raise _error(self.address, what, step, self.checksum) from error

    def _store(self, response: Any, offset: int) -> None:
        self.served = response.headers.get_content_type()
        start, total = 0, response.length
        if response.status == 206:
            span = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if span is None or int(span[1]) != offset:
                self.part.unlink(missing_ok=True)
                raise _BrokenOffError("the server sent another part of the file than it was asked for")
            start = offset
            total = int(span[2]) if span[2] != "*" else None
        self.is_measured = total is not None
        self._check_room(start, total)
        done = start
        with open_unbuffered(self.part, "r+b" if start else "wb") as file:
            file.seek(start)
            self.progress(done, total)
            while chunk := response.read1(CHUNK_BYTES):
                done += len(chunk)
                self._check_size(done)
                write_all(file, chunk)
                self.progress(done, total)
        if total is not None and done < total:
            raise _BrokenOffError(f"the connection broke off after {done} of {total} bytes")

    def _check_room(self, start: int, total: int | None) -> None:
        if total is None:
            return
        self._check_size(total)
        free = shutil.disk_usage(self.part.parent).free
        if free < total - start:
            raise OutputError(
                f"{self.part.parent} has {free / 2**20:.0f} MB free; {self.address} needs {(total - start) / 2**20:.0f} "
                "MB. Free some space, or set ATROUS_CACHE to a folder on another disk."
            )

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            self.part.unlink(missing_ok=True)
            what = f"the file is longer than {self.max_bytes} bytes"
            raise _error(self.address, what, "Check the address.", self.checksum)

    def _of_network(self, error: Exception) -> Exception:
        """The error to raise for one of the connection: final where asking again at once is no use."""
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        text = "the server said nothing for too long" if isinstance(cause, TimeoutError) else str(cause)
        text = text or type(cause).__name__
        if isinstance(cause, ssl.SSLCertVerificationError):
            step = "Set SSL_CERT_FILE where your network has certificates of its own."
            return _error(self.address, f"the server's certificate is not trusted ({text})", step, self.checksum)
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _NO_WAY):
            return self._gave_up(f"there is no way to the server ({text})")
        return _BrokenOffError(text)

    def _gave_up(self, what: str) -> DownloadError:
        kept = self._size()
        step = "Check the network (and https_proxy, where there is a proxy)"
        if kept and not self.part.name.startswith(TEMPORARY_PREFIX):
            return _error(
                self.address, what, f"{step} and run again: {kept} bytes are kept in {self.part}.", self.checksum
            )
        return _error(self.address, what, f"{step} and run again.", self.checksum)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0


def _checksum(sha256: str | None, hash_prefix: str | None, md5: str | None) -> Checksum:
    given = [("sha256", sha256), ("sha256", hash_prefix), ("md5", md5)]
    chosen = [Checksum(algorithm=algorithm, digits=digits) for algorithm, digits in given if digits is not None]
    if len(chosen) != 1:
        raise ValueError("give one of sha256, hash_prefix and md5")
    return chosen[0]


def _is_right(path: Path, checksum: Checksum) -> bool:
    try:
        return path.is_file() and checksum.of(path).startswith(checksum.digits)
    except OSError:
        return False


def _error(address: str, found: str, step: str, checksum: Checksum) -> DownloadError:
    return DownloadError(
        f"{address} was not fetched: {found}. Expected the file with the {checksum}. {step}", found=found
    )


def _nothing(done: int, total: int | None) -> None:
    del done, total
