"""What is written of a video: an overlay video, masks and polygons of every frame, tables with the frames' times."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.files import make_folder, replacing, replacing_folder
from atrous.images import encode_mask
from atrous.labels import Labels
from atrous.overlay import class_legend, overlay
from atrous.regions import REGION_FIELDS, count_pixels, find_regions, polygons
from atrous.video import Clip, Frame, VideoWriter

__all__ = ["KINDS", "Results", "writing"]

KINDS = ("mask", "overlay", "polygons", "table")
QUICK = 3  # zlib's effort for a frame's mask: a third of the time, half as large again
_FRAME_FILE = re.compile(r"\d{6,}\.(png|geojson)")

Part = Callable[[Frame, NDArray[np.integer]], None]


class Results:
    """The parts that a frame is handed to, one after the other, and the `paths` that they write."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.paths: list[Path] = []

    def write(self, frame: Frame, label_map: NDArray[np.integer]) -> None:
        """Write what is asked for of the next frame; `label_map` is (H, W) class ids.

        Raises:
            OutputError: a full disk, or no permission.
        """
        for part in self.parts:
            part(frame, label_map)


@contextmanager
def writing(target: Path, clip: Clip, labels: Labels, save: Sequence[str]) -> Iterator[Results]:
    """Open what `save` names, and the table of frames. All of it gets its names when the body has ended well.

    Of a target `out/clip`: `clip_overlay.mp4`, the folder `clip` with `000000.png` (mask) and `000000.geojson`
    (polygons), `clip.csv` (table: the regions of all frames), and always `clip_frames.csv`.

    Raises:
        OutputError: something cannot be written.
    """
    make_folder(target.parent)
    results = Results()
    with ExitStack() as stack:

        def table(path: Path, fields: Sequence[str]) -> Any:
            file = stack.enter_context(stack.enter_context(replacing(path)).open("w", newline="", encoding="utf-8"))
            results.paths.append(path)
            writer = csv.writer(file)
            writer.writerow(fields)
            return writer

        if "overlay" in save:
            path = target.with_name(f"{target.name}_overlay.mp4")
            results.parts.append(_overlay_part(path, clip, labels, stack))
            results.paths.append(path)
        if "mask" in save or "polygons" in save:
            folder = stack.enter_context(replacing_folder(target, ours=lambda name: bool(_FRAME_FILE.fullmatch(name))))
            results.parts.append(_files_part(folder, labels, save))
            results.paths.append(target)
        if "table" in save:
            rows = table(target.with_name(f"{target.name}.csv"), ["frame", "time_seconds", *REGION_FIELDS])
            results.parts.append(_regions_part(rows, labels))
        rows = table(target.with_name(f"{target.name}_frames.csv"), ["frame", "time_seconds", *labels.names])
        results.parts.append(_shares_part(rows, labels))
        yield results


def _overlay_part(path: Path, clip: Clip, labels: Labels, stack: ExitStack) -> Part:
    legend = class_legend(clip.size, labels)
    size = clip.size[0] + len(legend), clip.size[1]
    writer = stack.enter_context(VideoWriter(path, size, time_base=clip.clock.time_base, aspect=clip.aspect))

    def write(frame: Frame, label_map: NDArray[np.integer]) -> None:
        picture = np.concatenate([overlay(frame.pixels, label_map, labels, legend=False), legend])
        writer.write(picture, frame.time, frame.duration)

    return write


def _files_part(folder: Path, labels: Labels, save: Sequence[str]) -> Part:
    def write(frame: Frame, label_map: NDArray[np.integer]) -> None:
        path = folder / f"{frame.number:06d}.png"
        if "mask" in save:
            path.write_bytes(encode_mask(label_map, labels, effort=QUICK))
        if "polygons" in save:
            features = {"type": "FeatureCollection", "features": polygons(label_map, labels)}
            path.with_suffix(".geojson").write_text(json.dumps(features), encoding="utf-8")

    return write


def _regions_part(rows: Any, labels: Labels) -> Part:
    def write(frame: Frame, label_map: NDArray[np.integer]) -> None:
        for region in find_regions(label_map, labels):
            row = region.as_row()
            rows.writerow([frame.number, _seconds(frame), *(row[field] for field in REGION_FIELDS)])

    return write


def _shares_part(rows: Any, labels: Labels) -> Part:
    def write(frame: Frame, label_map: NDArray[np.integer]) -> None:
        shares = count_pixels(label_map, labels) / label_map.size
        rows.writerow([frame.number, _seconds(frame), *(f"{share:.6f}" for share in shares)])

    return write


def _seconds(frame: Frame) -> str:
    return f"{float(frame.time):.6f}"
