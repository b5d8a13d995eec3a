"""Label maps of any size, written row by row as GeoTIFF or palette PNG."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import OutputError
from atrous.files import replacing
from atrous.labels import VOID_COLOUR, Colour, Labels, voc_palette
from atrous.rasters.gdal import gdal, open_tiff, rasterio_for, takes_path
from atrous.rasters.georeference import Georeference
from atrous.rasters.png import MAX_PNG_SIDE, write_png

__all__ = ["label_dtype", "write_label_raster"]

_TILE = 512
_Rows = NDArray[np.uint8] | NDArray[np.uint16]


def label_dtype(labels: Labels) -> np.dtype[Any]:
    """The dtype of label maps of `labels`: uint8, or uint16 where a class or the ignore index is above 255."""
    return np.dtype(np.uint16 if max(labels.num_classes - 1, labels.ignore_index) > 255 else np.uint8)


def write_label_raster(
    path: Path,
    bands_of_rows: Iterable[_Rows],
    *,
    size: tuple[int, int],
    labels: Labels,
    georeference: Georeference | None,
) -> None:
    """Write a label map of `size` (height, width) whose rows come top to bottom, in pieces (h, width) of any height.

    By the suffix: `.tif` and `.tiff` become a tiled GeoTIFF with the georeference, the colours of `labels` (uint8) and the
    ignore index as its nodata value; `.png` becomes what `write_mask` writes, without georeference. Memory does not grow
    with the height, and the bytes do not depend on how the rows are cut.

    Raises ValueError for rows that do not fill `size`, or values that are neither a class nor the ignore index;
    OutputError for another suffix, a full disk, a folder that cannot be written; MissingExtraError for a TIFF without
    rasterio. In all cases `path` is then as it was.
    """
    rows = _checked(bands_of_rows, size, labels)
    match path.suffix.lower():
        case ".tif" | ".tiff":
            rasterio = rasterio_for(path, "is written by")
            if not takes_path(path.parent):
                raise OutputError(f"{path} was not written: GDAL takes no such path; choose another output folder.")
            with replacing(path) as temporary:
                _write_tiff(rasterio, path, temporary, rows, size=size, labels=labels, georeference=georeference)
        case ".png":
            if max(size) > MAX_PNG_SIDE:
                raise OutputError(f"{path} was not written: {size[0]} x {size[1]} is too large for PNG; write a .tif.")
            with replacing(path) as temporary, temporary.open("wb") as file:
                palette = _palette(labels) if label_dtype(labels) == np.uint8 else None
                write_png(file, rows, size=size, palette=palette)
        case other:
            raise OutputError(f"{path} was not written: the suffix is {other!r}; expected .tif, .tiff or .png.")


def _checked(pieces: Iterable[_Rows], size: tuple[int, int], labels: Labels) -> Iterator[_Rows]:
    """The same rows in bands of one tile's height, so that what is written does not depend on the pieces."""
    height, width = size
    allowed = np.zeros(2**16, np.bool_)
    allowed[: labels.num_classes] = True
    if labels.ignore_index >= 0:
        allowed[labels.ignore_index] = True
    band = np.empty((min(_TILE, height), width), label_dtype(labels))
    done = filled = 0
    for piece in pieces:
        if piece.ndim != 2 or piece.shape[1] != width or done + filled + piece.shape[0] > height:
            raise ValueError(
                f"rows of shape {piece.shape} after {done + filled} rows of a label map of {height} x {width}"
            )
        while piece.shape[0]:
            taken = min(band.shape[0] - filled, piece.shape[0])
            _check_values(piece[:taken], allowed, labels)
            band[filled : filled + taken] = piece[:taken]
            piece = piece[taken:]
            filled += taken
            if filled == band.shape[0]:
                yield band
                done, filled = done + filled, 0
    if filled:
        yield band[:filled]
    if done + filled != height:
        raise ValueError(f"{done + filled} rows came for a label map of {height} x {width}")


def _check_values(piece: _Rows, allowed: NDArray[np.bool_], labels: Labels) -> None:
    if piece.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"a label map has class numbers in uint8 or uint16, not {piece.dtype}")
    is_allowed = allowed[piece]
    if not is_allowed.all():
        foreign = np.unique(piece[~is_allowed]).tolist()
        raise ValueError(f"the label map holds {foreign[:5]}; expected 0-{labels.num_classes - 1} or the ignore index")


def _palette(labels: Labels) -> list[Colour]:
    """256 colours: those of the classes, VOC's border colour for void, VOC's others for numbers without a class."""
    colours = [*labels.palette, *voc_palette()[labels.num_classes :]]
    if labels.ignore_index >= 0:
        colours[labels.ignore_index] = VOID_COLOUR
    return colours


def _write_tiff(
    rasterio: Any,
    path: Path,
    temporary: Path,
    rows: Iterator[_Rows],
    *,
    size: tuple[int, int],
    labels: Labels,
    georeference: Georeference | None,
) -> None:
    profile = {
        "height": size[0],
        "width": size[1],
        "count": 1,
        "dtype": label_dtype(labels).name,
        "nodata": labels.ignore_index if labels.ignore_index >= 0 else None,
        "tiled": True,
        "blockysize": _TILE,
        "blockxsize": _TILE,
        "compress": "deflate",
        "bigtiff": "if_safer",
    }
    if georeference is not None:
        profile["transform"] = rasterio.Affine(*georeference.transform)
        profile["crs"] = georeference.crs
    try:
        with gdal():
            with open_tiff(temporary, "w", **profile) as file:
                if label_dtype(labels) == np.uint8:
                    file.write_colormap(1, dict(enumerate(_palette(labels))))
                sums = [_write_band(rasterio, file, at, band) for at, band in _placed(rows)]
            # GDAL tells nobody when the last blocks, which it writes on closing, found no room
            _compare(rasterio, temporary, sums, size)
    except rasterio.errors.RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise OutputError(
            f"{path} was not written: {reason}. Free some space, or choose another output folder."
        ) from error


def _placed(rows: Iterator[_Rows]) -> Iterator[tuple[int, _Rows]]:
    at = 0
    for band in rows:
        yield at, band
        at += band.shape[0]


def _write_band(rasterio: Any, file: Any, at: int, band: _Rows) -> int:
    """Write rows from row `at` on; returns their CRC-32."""
    file.write(band, 1, window=rasterio.windows.Window(0, at, band.shape[1], band.shape[0]))
    return zlib.crc32(band.data)


def _compare(rasterio: Any, path: Path, sums: list[int], size: tuple[int, int]) -> None:
    """Raise RasterioIOError unless the file gives the rows that were written, by their CRC-32 for each row of tiles."""
    with open_tiff(path) as file:
        for index, expected in enumerate(sums):
            at = index * _TILE
            window = rasterio.windows.Window(0, at, size[1], min(_TILE, size[0] - at))
            if zlib.crc32(file.read(1, window=window)) != expected:
                raise rasterio.errors.RasterioIOError(f"rows from {at} on could not be read back")
