"""What is written of predictions: files for each image, and files for all images together.

A file for all is written image by image into a temporary file beside it, and takes its name when the last image is done. A
run that is stopped leaves the old one as it was.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from atrous.annotations import CocoFile, CvatFile, TagsFile, write_geojson, write_labelme, write_regions
from atrous.errors import ConfigError
from atrous.files import make_folder, replacing
from atrous.labels import Labels
from atrous.prediction import Prediction
from atrous.regions import Outline, Transform, check_tolerance

__all__ = ["FOR_ALL", "KINDS", "PER_IMAGE", "Results", "Wanted"]

PER_IMAGE = {
    "mask": ".png",
    "overlay": "_overlay.png",
    "polygons": ".geojson",
    "table": ".csv",
    "scores": "_scores.npz",
    "labelme": ".json",
}
"""How the names of an image's files end, by kind."""

FOR_ALL = {"coco": CocoFile.NAME, "cvat": CvatFile.NAME, "tags": TagsFile.NAME}
"""The names of the files of all images, by kind."""

KINDS = (*PER_IMAGE, *FOR_ALL)
OUTLINED = {"polygons", "labelme", "coco", "cvat"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to write.

    Args:
        kinds: of `KINDS`.
        min_area: regions of fewer pixels are left out of polygons and tables.
        simplify: tolerance of polygons in pixels.

    Raises:
        ConfigError: an unknown kind or none, a negative area, a tolerance that is none.
        MissingExtraError: a tolerance is given and shapely is not installed.
    """

    kinds: tuple[str, ...] = ("mask", "overlay")
    min_area: int = 1
    simplify: float = 0

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ConfigError(
                f"--save {','.join(self.kinds)}: {', '.join(unknown) or 'nothing'} is not known; expected "
                f"{', '.join(KINDS)}."
            )
        if self.min_area < 0:
            raise ConfigError(f"min_area is {self.min_area}, expected a number of pixels, 0 or more.")
        check_tolerance(self.simplify)

    def ignored(self) -> str:
        """Which settings have no effect on these kinds, as a sentence; nothing where all have one."""
        outlined = OUTLINED & set(self.kinds)
        names = ["--simplify"] if self.simplify and not outlined else []
        names += ["--min-area"] if self.min_area > 1 and not outlined and "table" not in self.kinds else []
        return f"{' and '.join(names)}: no effect on {','.join(self.kinds)}" if names else ""

    def files_of(self, target: Path) -> dict[str, Path]:
        """The files of one image, by kind; `target` is their path without an ending."""
        return {kind: target.with_name(target.name + PER_IMAGE[kind]) for kind in PER_IMAGE if kind in self.kinds}


class Results:
    """Writes predictions below a folder, one by one; a context manager. Raises OutputError when it cannot."""

    def __init__(self, out: Path, wanted: Wanted, labels: Labels) -> None:
        self._out, self._wanted, self._labels = out, wanted, labels
        self._stack = ExitStack()
        self._coco: CocoFile | None = None
        self._cvat: CvatFile | None = None
        self._tags: TagsFile | None = None

    def __enter__(self) -> Self:
        make_folder(self._out)
        with self._stack:
            kinds = self._wanted.kinds
            self._coco = CocoFile(self._stream("coco"), self._labels) if "coco" in kinds else None
            self._cvat = CvatFile(self._stream("cvat"), self._labels) if "cvat" in kinds else None
            self._tags = TagsFile(self._stream("tags"), self._labels) if "tags" in kinds else None
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _stream(self, kind: str) -> BinaryIO:
        temporary = self._stack.enter_context(replacing(self._out / FOR_ALL[kind]))
        return self._stack.enter_context(temporary.open("wb"))

    def write(
        self,
        prediction: Prediction,
        target: Path,
        *,
        image: Path,
        name: str,
        transform: Transform | None = None,
        crs: str | None = None,
        pixel_area: float | None = None,
        area_unit: str = "m2",
        leave_out: Sequence[str] = (),
    ) -> Iterator[Path]:
        """Write the files of one image and add it to those of all.

        Args:
            prediction: of the image.
            target: the path of its files below the folder, without an ending.
            image: where the image is.
            name: what it is called in the files of all images.
            transform: six numbers that put GeoJSON on a map; all other files stay in pixels.
            crs: the map's coordinate system, as WKT or `EPSG:32632`.
            pixel_area: what one pixel covers, in `area_unit`, where that is known.
            area_unit: the unit's name.
            leave_out: kinds of its own files that were written another way.
        """
        wanted = self._wanted
        physical: dict[str, Any] = {"pixel_area": pixel_area, "area_unit": area_unit}
        outlines: Sequence[Outline] = ()
        if OUTLINED & set(wanted.kinds):
            outlines = prediction.outlines(min_area=wanted.min_area, simplify=wanted.simplify, **physical)
        files = wanted.files_of(self._out / target)
        if files:
            make_folder((self._out / target).parent)
        for kind, path in files.items():
            if kind in leave_out:
                continue
            if kind == "mask":
                prediction.save_mask(path)
            elif kind == "overlay":
                prediction.save_overlay(path)
            elif kind == "polygons":
                features = (outline.as_feature(transform) for outline in outlines)
                write_geojson(path, features, on_map=transform is not None, crs=crs)
            elif kind == "table":
                write_regions(path, prediction.table(min_area=wanted.min_area, **physical))
            elif kind == "scores":
                prediction.save_scores(path)
            elif kind == "labelme":
                write_labelme(path, image, prediction.size, outlines)
            yield path
        if self._coco:
            self._coco.add(name, prediction.size, outlines)
        if self._cvat:
            self._cvat.add(name, prediction.size, outlines)
        if self._tags:
            self._tags.add(name, prediction.shares())

    def finish(self) -> tuple[Path, ...]:
        """End the files of all images and give them their names."""
        for file in (self._coco, self._cvat, self._tags):
            if file:
                file.finish()
        self._stack.close()
        return tuple(self._out / name for kind, name in FOR_ALL.items() if kind in self._wanted.kinds)
