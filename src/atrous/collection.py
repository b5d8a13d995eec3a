"""Predicting many files: the tree of the inputs is mirrored, a bad file is reported and the rest go on."""

import glob
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from atrous.data.layouts.listing import PICTURE_SUFFIXES
from atrous.errors import DataError
from atrous.files import write_atomically
from atrous.prediction import Model
from atrous.results import FOR_ALL, Results, Wanted

__all__ = ["InputFile", "Outcome", "find_images", "predict_files"]


@dataclass(frozen=True)
class InputFile:
    """An image, and where its results go below the output folder (without suffix)."""

    path: Path
    target: Path

    @property
    def name(self) -> str:
        """The image's path as seen from the folder that was named, with slashes."""
        return (self.target.parent / self.path.name).as_posix()


@dataclass(frozen=True)
class Outcome:
    """What came of one file: the files written, or the error; at the very end the files of all images."""

    path: Path
    written: tuple[Path, ...] = ()
    error: str | None = None
    of_all: bool = False


def find_images(inputs: Sequence[str]) -> list[InputFile]:
    """Expand files, folders and globs, in order, each image once.

    Below a folder, hidden files and files that are no images by their suffix are left out; a file named by itself is
    taken whatever its suffix. Two images that would write the same result (`a.jpg`, `a.png`) keep their suffix in it.

    Raises:
        DataError: an input that does not exist, or no image at all.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            for file in _images_below(path):
                found.setdefault(file, file.relative_to(path))
        elif path.exists():
            found.setdefault(path, Path(path.name))
        else:
            matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
            if not matches:
                raise DataError(f"{text}: no such file, folder or glob; expected images. Check the path.")
            for match in matches:
                for file in _images_below(match) if match.is_dir() else [match]:
                    found.setdefault(file, file.relative_to(match.parent))
    if not found:
        raise DataError(
            f"{', '.join(inputs)}: no images found; expected files ending in {', '.join(sorted(PICTURE_SUFFIXES))}."
        )
    stems = Counter(str(target.with_suffix("")) for target in found.values())
    return [
        InputFile(path, target.with_suffix("") if stems[str(target.with_suffix(""))] == 1 else target)
        for path, target in found.items()
    ]


def _images_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield path


def predict_files(
    model: Model,
    files: Sequence[InputFile],
    *,
    out: Path,
    wanted: Wanted | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Iterator[Outcome]:
    """Predict one file after another and write what is wanted below `out`.

    Files that fail are listed in `out/errors.jsonl`; files of all images hold the others. `scales` and `flip` are as for
    `Model.predict`.

    Raises:
        DataError: two images would write the same file.
        OutputError: results cannot be written; nothing half-written is left.
    """
    wanted = wanted or Wanted()
    _check_names(files, wanted)
    model.expect(len(files) * len(scales) * (2 if flip else 1))
    errors: list[Outcome] = []
    with Results(out, wanted, model.labels) as results:
        for file in files:
            try:
                prediction = model.predict(file.path, scales=scales, flip=flip)
            except DataError as error:
                outcome = Outcome(file.path, error=str(error))
                errors.append(outcome)
                _write_errors(out, errors)
            else:
                written = results.write(prediction, file.target, image=file.path, name=file.name)
                outcome = Outcome(file.path, written=tuple(written))
            yield outcome
        if together := results.finish():
            yield Outcome(out, written=together, of_all=True)


def _check_names(files: Sequence[InputFile], wanted: Wanted) -> None:
    """Refuse images that would overwrite each other's files, or a file of all images."""
    owner: dict[Path, Path | None] = {Path(name): None for kind, name in FOR_ALL.items() if kind in wanted.kinds}
    for file in files:
        for path in wanted.files_of(file.target).values():
            if path in owner:
                other = owner[path] or "the file of all images"
                raise DataError(
                    f"{file.path} would write {path}, as {other} does; expected a file of its own for each. "
                    "Rename one, or predict them into two folders."
                )
            owner[path] = file.path


def _write_errors(out: Path, errors: Sequence[Outcome]) -> None:
    lines = [json.dumps({"file": str(outcome.path), "error": outcome.error}, ensure_ascii=False) for outcome in errors]
    write_atomically(out / "errors.jsonl", ("\n".join(lines) + "\n").encode())
