"""What lies in a data folder: pictures and folders, in natural order, without what does not belong to the data."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from atrous.data.split import natural_key
from atrous.errors import DataError

__all__ = ["PICTURE_SUFFIXES", "Tree"]

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
)  # in lower case; files are compared without regard to case

_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


@dataclass
class Tree:
    """A data folder as the readers see it.

    Hidden files and those that systems leave (.DS_Store, Thumbs.db) are not seen, nor are symbolic links that lead out
    of `root` or, deep inside, links to folders; `left_out` collects the links. All paths start with `root`.
    """

    root: Path
    left_out: set[Path] = field(default_factory=set[Path])

    def folders(self, folder: Path) -> list[Path]:
        """Return the folders directly in `folder`."""
        return [path for path, is_folder in self._entries(folder) if is_folder]

    def pictures(self, folder: Path, *, deep: bool = True) -> list[Path]:
        """Return the pictures in `folder`, and with `deep` in the folders below it too.

        Raises DataError for a folder that cannot be listed.
        """
        found: list[Path] = []
        waiting = [folder]
        while waiting:
            for path, is_folder in self._entries(waiting.pop()):
                if is_folder:
                    if not path.is_symlink():
                        waiting.append(path)
                    elif deep:
                        self.left_out.add(path)
                elif path.suffix.lower() in PICTURE_SUFFIXES:
                    found.append(path)
            if not deep:
                break
        return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))

    def holds_pictures(self, folder: Path) -> bool:
        """Whether there is a picture in `folder` or below it."""
        return bool(self.pictures(folder))

    def describe(self, folder: Path) -> str:
        """Say what lies directly in `folder`: '2 folders (a, b), 3 files (2 .jpg, 1 .txt)'."""
        entries = self._entries(folder)
        folders = [path.name for path, is_folder in entries if is_folder]
        kinds = Counter(path.suffix.lower() or "without suffix" for path, is_folder in entries if not is_folder)
        parts: list[str] = []
        if folders:
            shown = ", ".join(folders[:8]) + (", ..." if folders[8:] else "")
            parts.append(f"{len(folders)} folder{'s'[: len(folders) > 1]} ({shown})")
        if kinds:
            shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
            parts.append(f"{kinds.total()} file{'s'[: kinds.total() > 1]} ({shown})")
        return " and ".join(parts) or "nothing"

    def _entries(self, folder: Path) -> list[tuple[Path, bool]]:
        """The visible entries of a folder and whether each is a folder, in natural order."""
        visible: list[tuple[Path, bool]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_FILES:
                        continue
                    path = folder / entry.name
                    if entry.is_symlink() and not self._stays_inside(path):
                        self.left_out.add(path)
                    elif entry.is_dir():
                        visible.append((path, True))
                    elif entry.is_file():
                        visible.append((path, False))
        except OSError as error:
            raise DataError(
                f"{folder} cannot be listed: {error.strerror}; expected a folder that may be read. "
                "Check the path and its permissions."
            ) from error
        return sorted(visible, key=lambda entry: natural_key(entry[0].name))

    def _stays_inside(self, link: Path) -> bool:
        try:
            return link.resolve(strict=True).is_relative_to(self.root.resolve())
        except (OSError, RuntimeError):  # a link to nothing, or in a circle
            return False
