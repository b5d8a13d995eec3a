"""Which classes there are, where no file says so: from the values in the masks and a list of names."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atrous.data.masks import ranges
from atrous.data.reading import values_by_piece
from atrous.errors import DataError, ImageError
from atrous.labels import Labels

__all__ = ["Classes", "MaskValues", "classes_from_masks", "read_names", "scan_masks", "summary"]

NAME_FILES = ("classes.txt", "names.txt", "labels.txt", "class_names.txt")
VOID = 255

_SCAN_LIMIT = 300
"""Masks that are read to find the classes: some hundred show all but the rarest, in a few seconds."""

_BRIGHT = 200
"""Values up to here count as classes without a list of names: data sets with more (LVIS, ADE20k in full) bring one."""

_LIST_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Classes:
    """What was decided, with the reasons as sentences."""

    labels: Labels
    class_map: dict[int, int]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MaskValues:
    """The values found in masks: value -> number of masks that hold it."""

    masks: Counter[int]
    total: int
    scanned: int
    faults: tuple[ImageError, ...]

    @property
    def reach(self) -> str:
        """Say how many masks were read."""
        return f"all {self.total} masks" if self.scanned == self.total else f"{self.scanned} of {self.total} masks"


def scan_masks(masks: Sequence[Path], *, limit: int = _SCAN_LIMIT) -> MaskValues:
    """Read the values of all masks, or, of more than `limit`, of as many at even distances."""
    picked = masks if len(masks) <= limit else [masks[index * len(masks) // limit] for index in range(limit)]
    found: Counter[int] = Counter()
    faults: list[ImageError] = []
    for path in picked:
        try:
            found.update(_values(path))
        except ImageError as error:
            faults.append(error)
    return MaskValues(masks=found, total=len(masks), scanned=len(picked), faults=tuple(faults))


def _values(path: Path) -> set[int]:
    """The values that a mask holds."""
    return {value for piece in values_by_piece(path) for value in np.flatnonzero(np.bincount(piece.ravel())).tolist()}


def read_names(root: Path) -> tuple[tuple[str, ...], Path] | None:
    """Return the class names listed one a line in classes.txt, names.txt, labels.txt or class_names.txt, and the file.

    Lines that are empty or begin with `#` are skipped, and LabelMe's leading `__ignore__`. None without such a file.

    Raises DataError for a list that is empty, names a class twice, or is no UTF-8 text.
    """
    path = next((root / name for name in NAME_FILES if (root / name).is_file()), None)
    if path is None:
        return None
    names = tuple(line for line in text_lines(path) if not line.startswith("#") and line != "__ignore__")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        found = f"the name {twice[0]!r} twice" if twice else "no name"
        raise DataError(f"{path} holds {found}; expected one class name a line. Correct the list.")
    return names, path


def text_lines(path: Path) -> list[str]:
    """Return the lines of a small text file, stripped, without empty ones.

    Raises DataError for a file over 1 MB, one that is no UTF-8 text or cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LIST_BYTES + 1)
        if len(content) > _LIST_BYTES:
            raise DataError(f"{path} has more than 1 MB; expected a short list, one entry a line. Check the file.")
        return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); expected UTF-8. Save it again as UTF-8.") from error


def classes_from_masks(masks: Sequence[Path], *, root: Path) -> Classes:
    """Decide the classes: names from a list in `root` if there is one, their number from it or from the mask values.

    255 is void, except where masks hold 0 and 255 alone: that is a binary mask, and 255 becomes class 1.

    Raises DataError where no mask can be read, or the values are too far apart to be class numbers.
    """
    values = scan_masks(masks)
    listed = read_names(root)
    classes = sorted(value for value in values.masks if value != VOID)
    notes = [_fault_note(values)] if values.faults else []
    if not values.masks and listed is None:
        first = values.faults[0] if values.faults else "there are no masks"
        raise DataError(f"{root}: of {values.total} masks, none is readable as class numbers. First: {first}")
    if classes == [0] and VOID in values.masks:
        return _binary(values, listed, notes)
    if listed is not None:
        names, path = listed
        labels = Labels(names=names, ignore_index=VOID if len(names) <= VOID else 65535)
        beyond = [value for value in classes if value >= len(names)]
        notes.append(f"Classes: {summary(labels)}, because {path.name} lists them.")
        if beyond:
            notes.append(f"The masks also hold {ranges(beyond)}, which {path.name} does not name: those are errors.")
        return Classes(labels=labels, class_map={}, notes=tuple(notes))
    _check_dense(classes, values, root)
    labels = Labels.numbered(classes[-1] + 1)
    notes.append(
        f"Classes: {summary(labels)}, because {values.reach} hold the values {ranges(values.masks)}. "
        "List their names in classes.txt, one a line, to give them names."
    )
    missing = sorted(set(range(labels.num_classes)) - set(classes))
    if missing:
        notes.append(f"No mask that was read holds {ranges(missing)}: they count as classes without pixels.")
    if len(classes) == 1:
        notes.append(f"All masks hold the one value {classes[0]}: there is nothing to tell apart.")
    return Classes(labels=labels, class_map={}, notes=tuple(notes))


def summary(labels: Labels) -> str:
    """Say the classes shortly: '3 (sky, road, car) and void 255'."""
    names = labels.names if labels.num_classes <= 24 else (*labels.names[:10], "...", labels.names[-1])
    return f"{labels.num_classes} ({', '.join(names)}) and void {labels.ignore_index}"


def _binary(values: MaskValues, listed: tuple[tuple[str, ...], Path] | None, notes: list[str]) -> Classes:
    names = listed[0] if listed is not None else ("background", "foreground")
    if len(names) == 1:
        names = ("background", names[0])
    labels = Labels(names=names)
    if labels.num_classes != 2:
        notes.append(
            f"Classes: {summary(labels)}, because {listed[1].name if listed else ''} lists them; "
            f"{values.reach} hold only 0 and {VOID}, which is void here."
        )
        return Classes(labels=labels, class_map={}, notes=tuple(notes))
    notes.append(
        f"Classes: {summary(labels)}, because {values.reach} hold only 0 and 255: binary masks, "
        f"where 255 is taken as class 1 ({names[1]}), not as void."
    )
    return Classes(labels=labels, class_map={VOID: 1}, notes=tuple(notes))


def _check_dense(classes: list[int], values: MaskValues, root: Path) -> None:
    """Refuse values that look like shades of grey: far apart (0, 85, 170), or up to white as in soft edges."""
    if not classes:
        raise DataError(
            f"{root}: {values.reach} hold only the value {VOID}, which is void; expected class numbers from 0. "
            "Write a data.yaml whose `classes:` says what 255 is, for instance `classes: {255: 1}`."
        )
    if classes[-1] >= _BRIGHT or (classes[-1] >= 32 and classes[-1] + 1 > 8 * len(classes)):
        example = ", ".join(f"{value}: {index}" for index, value in enumerate(classes[:4]))
        raise DataError(
            f"{root}: {values.reach} hold {len(classes)} values ({_short(classes)}), which look like shades of grey; "
            "expected class numbers 0, 1, ... and 255 for void. If they are soft (antialiased) edges or photographs, "
            "save the masks again without smoothing; if they are classes, write a data.yaml that maps them, "
            f"for instance `classes: {{{example}}}`."
        )


def _short(classes: list[int]) -> str:
    text = ranges(classes)
    return text if len(text) <= 60 else f"{text[:60].rpartition(',')[0]}, ... {classes[-1]}"


def _fault_note(values: MaskValues) -> str:
    return (
        f"{len(values.faults)} of {values.scanned} masks could not be read. First: {values.faults[0]} "
        "Run `atrous check DIR` to list them all."
    )
