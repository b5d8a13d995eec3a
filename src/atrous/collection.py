"""Predicting many files: the tree of the inputs is mirrored, a bad file is reported and the rest go on."""

import glob
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from atrous.data.layouts.listing import PICTURE_SUFFIXES
from atrous.errors import DataError, MissingExtraError
from atrous.files import write_atomically
from atrous.footage import VideoSettings, segment_video
from atrous.prediction import Model, Prediction
from atrous.results import FOR_ALL, Results, Wanted
from atrous.streamed import KINDS as STREAMED_KINDS
from atrous.streamed import StreamedSettings, is_streamed, place_of, segment_streamed
from atrous.video import VIDEO_SUFFIXES, expected_frames, is_video

__all__ = ["InputFile", "Outcome", "find_images", "predict_files"]


@dataclass(frozen=True)
class InputFile:
    """An image or a video, and where its results go below the output folder (without suffix)."""

    path: Path
    target: Path
    is_video: bool = False

    @property
    def name(self) -> str:
        """The image's path as seen from the folder that was named, with slashes."""
        return (self.target.parent / self.path.name).as_posix()


@dataclass(frozen=True)
class Outcome:
    """What came of one file: the files written and perhaps a warning, or the error; at the end the files of all images."""

    path: Path
    written: tuple[Path, ...] = ()
    error: str | None = None
    warning: str | None = None
    of_all: bool = False


def find_images(inputs: Sequence[str]) -> list[InputFile]:
    """Expand files, folders and globs, in order, each image and each video once.

    Below a folder, hidden files and files that are neither by their suffix are left out; a file named by itself is
    taken whatever its suffix. Two that would write the same result (`a.jpg`, `a.png`) keep their suffix in it.

    Raises:
        DataError: an input that does not exist, or nothing to predict at all.
    """
    named: set[Path] = set()
    found: dict[Path, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            for file in _images_below(path):
                found.setdefault(file, file.relative_to(path))
        elif path.exists():
            found.setdefault(path, Path(path.name))
            named.add(path)
        else:
            matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207
            if not matches:
                raise DataError(f"{text}: no such file, folder or glob; expected images or videos. Check the path.")
            named.update(match for match in matches if not match.is_dir())
            for match in matches:
                for file in _images_below(match) if match.is_dir() else [match]:
                    found.setdefault(file, file.relative_to(match.parent))
    if not found:
        suffixes = ", ".join(sorted(PICTURE_SUFFIXES | VIDEO_SUFFIXES))
        raise DataError(f"{', '.join(inputs)}: no images or videos found; expected files ending in {suffixes}.")
    return _with_targets(found, named)


def _with_targets(found: dict[Path, Path], named: set[Path]) -> list[InputFile]:
    """Results lose the suffix of their file where that leaves one of a kind; a video's has a folder too."""
    videos = {
        path for path in found if path.suffix.lower() not in PICTURE_SUFFIXES and is_video(path, named=path in named)
    }
    stems = Counter(target.with_suffix("") for target in found.values())
    folders = {folder for target in found.values() for folder in target.parents}
    files: list[InputFile] = []
    for path, target in found.items():
        stem = target.with_suffix("")
        is_taken = stems[stem] > 1 or (path in videos and stem in folders)
        files.append(InputFile(path, target if is_taken else stem, path in videos))
    return files


def _images_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        if path.suffix.lower() in PICTURE_SUFFIXES or is_video(path):
            yield path


def predict_files(
    model: Model,
    files: Sequence[InputFile],
    *,
    out: Path,
    wanted: Wanted | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    video: VideoSettings | None = None,
    streamed: StreamedSettings | None = None,
) -> Iterator[Outcome]:
    """Predict one file after another and write what is wanted below `out`.

    Files that fail are listed in `out/errors.jsonl`; files of all images hold the others. `scales` and `flip` are as for
    `Model.predict`; `video` says how videos are segmented, `streamed` who hears of images that are read by windows.

    Raises:
        DataError: two images would write the same file.
        OutputError: results cannot be written; nothing half-written is left.
    """
    wanted = wanted or Wanted()
    _check_names(files, wanted)
    model.expect(sum(map(_images_in, files)) * len(scales) * (2 if flip else 1))
    errors: list[Outcome] = []
    with Results(out, wanted, model.labels) as results:
        for file in files:
            warning: str | None = None
            try:
                if file.is_video:
                    written = segment_video(
                        model, file.path, out / file.target, save=wanted.kinds, scales=scales, flip=flip, settings=video
                    )
                elif is_streamed(file.path):
                    _refuse_views(file.path, scales, flip)
                    written = tuple(_large(model, file, out, wanted, results, streamed))
                else:
                    prediction = model.predict(file.path, scales=scales, flip=flip)
                    written = tuple(results.write(prediction, file.target, image=file.path, name=file.name))
                    warning = _warning(file.path, prediction)
            except (DataError, MissingExtraError) as error:
                outcome = Outcome(file.path, error=str(error))
                errors.append(outcome)
                _write_errors(out, errors)
            else:
                outcome = Outcome(file.path, written=written, warning=warning)
            yield outcome
        if together := results.finish():
            yield Outcome(out, written=together, of_all=True)


def _large(
    model: Model, file: InputFile, out: Path, wanted: Wanted, results: Results, settings: StreamedSettings | None
) -> Iterator[Path]:
    """An image that is read by windows: mask and overlay by rows; what needs all of it, where it fits, on the map."""
    by_rows = tuple(kind for kind in wanted.kinds if kind in STREAMED_KINDS)
    place = place_of(file.path) if len(by_rows) < len(wanted.kinds) else None
    if by_rows:
        yield from segment_streamed(model, file.path, out / file.target, save=by_rows, settings=settings)
    if place is not None:
        prediction = model.predict(file.path)
        yield from results.write(prediction, file.target, image=file.path, name=file.name, leave_out=by_rows, **place)


def _check_names(files: Sequence[InputFile], wanted: Wanted) -> None:
    """Refuse images that would overwrite each other's files, or a file of all images."""
    owner: dict[Path, Path | None] = {Path(name): None for kind, name in FOR_ALL.items() if kind in wanted.kinds}
    for file in files:
        if file.is_video:
            continue
        for path in wanted.files_of(file.target).values():
            if path in owner:
                other = owner[path] or "the file of all images"
                raise DataError(
                    f"{file.path} would write {path}, as {other} does; expected a file of its own for each. "
                    "Rename one, or predict them into two folders."
                )
            owner[path] = file.path


def _refuse_views(path: Path, scales: Sequence[float], flip: bool) -> None:
    if tuple(scales) != (1.0,) or flip:
        raise DataError(
            f"{path}: several scales and mirrored views are not averaged over an image that is read by windows; expected "
            "one view. Leave --scales and --flip away."
        )


def _images_in(file: InputFile) -> int:
    try:
        return expected_frames(file.path) if file.is_video else 1
    except MissingExtraError:  # told when it is its turn
        return 1


def _warning(path: Path, prediction: Prediction) -> str | None:
    if not prediction.missing_pixels:
        return None
    return (
        f"{path}: {prediction.missing_pixels} of {prediction.label_map.size} pixels hold no number (NaN, infinity or "
        "nodata); they went in as the mean colour, so do not trust the classes there."
    )


def _write_errors(out: Path, errors: Sequence[Outcome]) -> None:
    lines = [json.dumps({"file": str(outcome.path), "error": outcome.error}, ensure_ascii=False) for outcome in errors]
    write_atomically(out / "errors.jsonl", ("\n".join(lines) + "\n").encode())
