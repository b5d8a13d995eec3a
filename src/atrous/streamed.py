"""Segmenting an image that need not fit into memory: read by windows, labelled by rows, gone on with when interrupted."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atrous import labelling
from atrous.data.reading import as_read_by
from atrous.errors import DataError
from atrous.files import make_folder
from atrous.images import MAX_PIXELS, write_image
from atrous.overlay import overlay
from atrous.prediction import Model
from atrous.rasters import Raster, RowStore, open_raster, write_label_raster
from atrous.resampling import resized_part
from atrous.tiling import Blended, Stitched
from atrous.version import __version__

__all__ = ["KINDS", "StreamedSettings", "is_streamed", "place_of", "segment_streamed"]

LabelMap = NDArray[Any]  # uint8 or uint16

STREAMED_PIXELS = MAX_PIXELS // 4  # from here on an image is read by windows where its format allows it
OVERLAY_SIDE = 4096  # pixels of the longer side of a large image's overlay
TIFF_SUFFIXES = (".tif", ".tiff")
KINDS = ("mask", "overlay")


@dataclass(frozen=True, kw_only=True)
class StreamedSettings:
    """What hears of the work: `say` sentences, `progress` the file and the share that is done."""

    say: Callable[[str], None] = field(default=lambda text: None)
    progress: Callable[[Path, float], None] = field(default=lambda path, share: None)


def is_streamed(path: Path) -> bool:
    """Whether an image is read by windows: a TIFF that lies somewhere on a map, or is large.

    Raises:
        ImageError: it cannot be opened.
        MissingExtraError: it is too large to be decoded whole, and rasterio is not installed.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return False
    with open_raster(path) as raster:
        return raster.georeference is not None or raster.size[0] * raster.size[1] > STREAMED_PIXELS


def place_of(path: Path) -> dict[str, Any]:
    """Where an image lies, as `Results.write` takes it: transform, crs, and the area of a pixel where that is in metres.

    Raises:
        DataError: an image too large to hold its whole label map.
    """
    with open_raster(path) as raster:
        height, width = raster.size
        if height * width > MAX_PIXELS:
            raise DataError(
                f"{path}: {height}x{width} pixels are too many for regions, tables and scores, which need the whole label "
                f"map; expected at most {MAX_PIXELS / 1e6:.3g} million. Save mask and overlay; GIS programs make polygons."
            )
        place = raster.georeference
    if place is None:
        return {}
    metres = place.unit in ("metre", "meter", "m")
    return {"transform": place.transform, "crs": place.crs, "pixel_area": place.pixel_area if metres else None}


def segment_streamed(
    model: Model, path: Path, target: Path, *, save: Sequence[str], settings: StreamedSettings | None = None
) -> tuple[Path, ...]:
    """Write what `save` names of a large image: its mask as a TIFF of the same place on the map, an overlay in small.

    Memory grows with the width of the image and not with its height. What is done lies in a folder beside `target`
    until the end; when the same work is asked for again, it goes on there, and the bytes are the same.

    Args:
        model: one whose engine takes windows.
        path: the image.
        target: where results go, without suffix.
        save: kinds of results; those that need the whole label map are refused.
        settings: who hears of it.

    Returns:
        The files written.

    Raises:
        DataError: the image does not fit the model, or a kind that cannot be had of a large image.
        OutputError: no room for results, or for the features in between.
    """
    settings = settings or StreamedSettings()
    refused = [kind for kind in save if kind not in KINDS]
    if refused:
        raise DataError(
            f"{path}: {', '.join(refused)} cannot be written of an image that is read by windows; expected "
            f"{', '.join(KINDS)}. Save the mask; `rasterio shapes` and GIS programs make polygons of it."
        )
    make_folder(target.parent)
    folder = target.with_name(f".{target.name}.partial")
    with open_raster(path) as raster:
        rows = _LabelRows(model, raster, folder, settings)
        _forget_other_work(folder, keep=rows.features if model.path is not None else None)
        with RowStore.open(folder, key=rows.key, size=raster.size, dtype=rows.dtype) as store:
            if store.rows_done < raster.size[0]:
                if store.rows_done:
                    settings.say(f"{path}: goes on at row {store.rows_done} of {raster.size[0]}")
                for band in rows.bands(store.rows_done):
                    store.append(band)
            written = tuple(_write(model, raster, store, target, save))
            store.remove()
    shutil.rmtree(folder, ignore_errors=True)
    return written


def _forget_other_work(folder: Path, *, keep: Path | None) -> None:
    """Remove what another image, model or way left in `folder`; all of it where nothing can be known to be the same."""
    if keep is None or not keep.is_dir():
        shutil.rmtree(folder, ignore_errors=True)


class _LabelRows:
    """The label map of a raster, band by band from the top."""

    def __init__(self, model: Model, raster: Raster, folder: Path, settings: StreamedSettings) -> None:
        self.model, self.raster, self.folder, self.settings = model, raster, folder, settings
        self.preprocessing = model.preprocessing
        self.resized = self.preprocessing.size_for(raster.size)
        ignore, classes = model.labels.ignore_index, model.labels.num_classes
        self.dtype = np.dtype(np.uint16 if max(ignore, classes - 1) > 255 else np.uint8)
        self._own(slice(0, 1), slice(0, 1))  # tells what does not fit before the work begins
        tiles = model.tiler.for_raster(self.preprocessing.input_size(raster.size), engine=model.engine)
        self.tiles = tiles
        settings.say(f"{raster.path}: {raster.size[0]}x{raster.size[1]} pixels by {tiles.reason}")

    @property
    def key(self) -> str:
        """What decides the rows: image, model and way."""
        image, weights = (None if path is None else path.stat() for path in (self.raster.path, self.model.path))
        identity = [None if found is None else (found.st_size, found.st_mtime_ns) for found in (image, weights)]
        facts = (__version__, str(self.raster.path.resolve()), str(self.model.path), identity, self.model.engine.name)
        return json.dumps([*facts, self.tiles.window, self.tiles.stitched])

    @property
    def features(self) -> Path:
        """The folder of this work's features: named by its key, so that no other work's are ever taken for them."""
        return self.folder / f"features-{hashlib.sha256(self.key.encode()).hexdigest()[:16]}"

    def bands(self, first: int) -> Iterator[LabelMap]:
        """Labels (rows, W) from the row `first` on."""
        with self.model.tiler.opened(
            self.tiles,
            self.preprocessing.as_read(),
            size=self.resized,
            read=self._read,
            engine=self.model.engine,
            folder=self.features,
            progress=lambda share: self.settings.progress(self.raster.path, share),
        ) as logits:
            for rows, labels in self._labels(logits, first):
                void = self.raster.void(rows, slice(0, self.raster.size[1]))
                labels = labels.astype(self.dtype, copy=False)
                if void is not None:
                    labels[void] = self.model.labels.ignore_index
                yield labels

    def _labels(self, logits: Stitched | Blended, first: int) -> Iterator[tuple[slice, LabelMap]]:
        """Rows of labels as soon as the coarse rows are there that they read."""
        height, cover = self.raster.size[0], logits.cover
        facts: dict[str, Any] = {"coarse_height": logits.coarse_size[0], "cover": cover[0]}
        held: torch.Tensor | None = None
        begin, done = 0, first
        for top, part in logits.rows(labelling.first_read(first, height, **facts)):
            held = part if held is None else torch.cat([held, part], dim=2)
            begin = top if held is part else begin
            ready = labelling.rows_ready(top + part.shape[2], height, **facts)
            if ready > done:
                rows = slice(done, ready)
                yield (
                    rows,
                    labelling.label_band(
                        held,
                        rows,
                        self.raster.size,
                        first=begin,
                        coarse_height=logits.coarse_size[0],
                        cover=cover,
                    ),
                )
                done = ready
            keep = labelling.first_read(done, height, **facts) - begin
            held, begin = held[:, :, keep:].clone(), begin + keep

    def _read(self, rows: slice, columns: slice) -> NDArray[Any]:
        return resized_part(self._own, self.raster.size, self.resized, rows, columns)

    def _own(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Pixels as the model reads them."""
        raster = self.raster
        return as_read_by(self.preprocessing, raster.path, raster.read(rows, columns), nodata=raster.nodata)


def _write(model: Model, raster: Raster, store: RowStore, target: Path, save: Sequence[str]) -> Iterator[Path]:
    if "mask" in save:
        is_tiff = raster.path.suffix.lower() in TIFF_SUFFIXES
        path = target.with_name(f"{target.name}{'.tif' if is_tiff else '.png'}")
        write_label_raster(path, store.read(), size=raster.size, labels=model.labels, georeference=raster.georeference)
        yield path
    if "overlay" in save:
        path = target.with_name(f"{target.name}_overlay.png")
        write_image(path, _small_overlay(model, raster, store))
        yield path


def _small_overlay(model: Model, raster: Raster, store: RowStore) -> NDArray[np.uint8]:
    """The overlay of every n-th pixel, at most `OVERLAY_SIDE` a side."""
    step = -(-max(raster.size) // OVERLAY_SIDE)
    pictures: list[NDArray[np.uint8]] = []
    maps: list[LabelMap] = []
    top = 0
    for labels in store.read(step * 64):
        columns = slice(0, raster.size[1])
        stored = raster.read(slice(top, top + len(labels)), columns)[::step, ::step]
        pixels = as_read_by(model.preprocessing, raster.path, np.ascontiguousarray(stored), nodata=raster.nodata)
        pictures.append(model.preprocessing.as_picture(pixels))
        maps.append(labels[::step, ::step])
        top += len(labels)
    return overlay(np.concatenate(pictures), np.concatenate(maps), model.labels)
