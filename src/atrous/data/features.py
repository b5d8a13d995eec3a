"""A store on disk for the outputs of a frozen network: one file per image and view, found by what it was made from.

A key is the digest of everything that the output depends on, so a wrong entry cannot be found, and entries serve every
run that asks for the same. A file appears whole or not at all, and carries a digest of what it holds, which is checked
when this process first opens it: what a crash or a bad disk damaged is made again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from atrous.errors import WeightsError
from atrous.files import TEMPORARY_PREFIX, make_folder
from atrous.tensors import read_tensors, write_tensors

__all__ = ["FeatureStore", "key_of"]

FORMAT = 1  # of what a key is made of, and of the files
DOCUMENT = "atrous_features"
HEADER_BYTES = 1024
SPARE_BYTES = 1 << 30  # left free on the disk whatever the limit says


def key_of(**parts: object) -> str:
    """The digest of `parts` (JSON's types): 64 hexadecimal digits."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()


class FeatureStore:
    """Entries in `folder`, at most `limit` bytes of them; the ones not used for longest give way.

    `dtype` is the type in which floating tensors are kept; they come back in float32.
    """

    def __init__(self, folder: Path, *, limit: int, dtype: torch.dtype = torch.float32) -> None:
        self.folder = folder
        self.limit = limit
        self.dtype = dtype
        self._checked: set[str] = set()

    def path(self, key: str) -> Path:
        """The file of an entry, which may not exist."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether there is a whole entry; one that is damaged is removed."""
        if key in self._checked:
            return True
        path = self.path(key)
        if not path.exists():
            return False
        try:
            read_tensors(path)
        except WeightsError:
            with suppress(OSError):
                path.unlink()
            return False
        with suppress(OSError):
            os.utime(path)
        self._checked.add(key)
        return True

    def get(self, key: str) -> dict[str, Tensor]:
        """The tensors of an entry that `has` found; floating ones in float32.

        They are mapped from the file: what is read is what is used, and the system keeps in memory what fits.
        """
        with safe_open(self.path(key), framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry; floating tensors in the store's type.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.path(key)
        make_folder(path.parent)
        kept = {
            name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
        }
        write_tensors(path, kept, key=DOCUMENT, document={"format": FORMAT})
        self._checked.add(key)

    def size_of(self, tensors: Mapping[str, Tensor]) -> int:
        """What an entry of these tensors takes on the disk, about, in bytes."""
        sizes = (
            value.numel() * (self.dtype if value.is_floating_point() else value.dtype).itemsize
            for value in tensors.values()
        )
        return sum(sizes) + HEADER_BYTES

    def make_room(self, needed: int, *, keep: Iterable[str]) -> bool:
        """Make room for `needed` more bytes, removing the oldest entries that are not among `keep`.

        Returns whether there is room, by the limit and on the disk; where there is not, nothing is removed.
        """
        kept = set(keep)
        entries = sorted(self._entries(), key=lambda entry: entry[1])
        removable = [entry for entry in entries if entry[0].stem not in kept]
        used = sum(size for _, _, size in entries)
        spare = sum(size for _, _, size in removable)
        if needed + used - spare > self.limit or needed > self._free() + spare - SPARE_BYTES:
            return False
        for path, _, size in removable:
            if needed + used <= self.limit and needed <= self._free() - SPARE_BYTES:
                break
            with suppress(OSError):
                path.unlink()
                used -= size
        return True

    def clean(self) -> None:
        """Remove unfinished files that a killed process left."""
        for path in self.folder.glob(f"*/{TEMPORARY_PREFIX}*"):
            with suppress(OSError):
                path.unlink()

    def _entries(self) -> list[tuple[Path, float, int]]:
        """(file, time of last use, bytes) of every entry."""
        found: list[tuple[Path, float, int]] = []
        for path in self.folder.glob("*/*.safetensors"):
            with suppress(OSError):
                status = path.stat()
                found.append((path, status.st_mtime, status.st_size))
        return found

    def _free(self) -> int:
        folder = next((part for part in (self.folder, *self.folder.parents) if part.exists()), Path())
        return shutil.disk_usage(folder).free
