"""TIFF files read by window through rasterio."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ImageError
from atrous.rasters.gdal import gdal, open_tiff, rasterio_for
from atrous.rasters.georeference import Georeference
from atrous.rasters.raster import MAX_BANDS, check_window, unreadable

__all__ = ["MAX_BLOCK_BYTES", "TiffRaster"]

MAX_BLOCK_BYTES = 128 * 2**20
"""The largest tile or strip that is decoded: the least that can be read of a file is one of them."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_LABEL_DTYPES = ("uint8", "uint16")
_LOSSY = ("jpeg", "webp", "jpeg2000")
_RESTORE = "Restore it from its source."


class TiffRaster:
    """A TIFF as a `Raster`. `is_label_map` gives the stored values of its only band, palette or not."""

    def __init__(self, path: Path, *, is_label_map: bool) -> None:
        self.path = path
        self._is_label_map = is_label_map
        self._lock = threading.Lock()  # GDAL's datasets are not for two threads at once
        self._rasterio = rasterio_for(path, "is read by")
        with self._told("its header"), gdal():
            self._file = open_tiff(path)
        try:
            with self._told("its header"), gdal():
                self._describe()
        except BaseException:
            self._file.close()
            raise

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Raster.read`."""
        check_window(self.size, rows, columns)
        pixels = self._stored(self._indexes, rows, columns)
        if self._palette is not None:
            return self._palette[pixels[0]]
        if self._is_label_map:
            pixels = self._as_labels(pixels, rows, columns)
        return np.ascontiguousarray(np.moveaxis(pixels, 0, 2))

    def void(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        """See `Raster.void`."""
        check_window(self.size, rows, columns)
        empty: list[NDArray[np.bool_]] = []
        if self.nodata is not None or np.issubdtype(self.dtype, np.floating):
            pixels = self._stored(self._indexes, rows, columns)
            if self.nodata is not None and not np.isnan(self.nodata):
                empty.append(np.logical_and.reduce(pixels == self.nodata))
            if np.issubdtype(self.dtype, np.floating):
                empty.append(~np.logical_or.reduce(np.isfinite(pixels)))
        if self._alpha is not None:
            empty.append(self._stored([self._alpha], rows, columns)[0] == 0)
        if self._has_mask:
            empty.append(self._stored([1], rows, columns, of_mask=True)[0] == 0)
        return np.logical_or.reduce(empty) if empty else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._lock, gdal():
            self._file.close()

    def _describe(self) -> None:
        file = self._file
        interpretation = self._rasterio.enums.ColorInterp
        alphas = [
            index for index, use in zip(file.indexes, file.colorinterp, strict=True) if use == interpretation.alpha
        ]
        self._alpha: int | None = alphas[0] if alphas else None
        self._indexes = [index for index in file.indexes if index not in alphas]
        self._check()
        flags = self._rasterio.enums.MaskFlags
        mask_flags = file.mask_flag_enums[0]
        self._has_mask: bool = flags.per_dataset in mask_flags and flags.alpha not in mask_flags
        self._palette = None if self._is_label_map else self._read_palette()
        stored = file.dtypes[0]
        self.size: tuple[int, int] = (file.height, file.width)
        self.bands: int = len(self._indexes) if self._palette is None else 3
        if self._is_label_map:
            stored = stored if stored in _LABEL_DTYPES else "uint16"
            self.bands = 1
        self.dtype: np.dtype[Any] = np.dtype(stored if self._palette is None else np.uint8)
        self.nodata: float | None = None if file.nodata is None else float(file.nodata)
        a, b, c, d, e, f = map(float, file.transform[:6])
        transform = (a, b, c, d, e, f)
        crs = file.crs.to_wkt() if file.crs else None
        self.georeference: Georeference | None = None
        if crs is not None or transform != _IDENTITY:
            self.georeference = Georeference(crs=crs, transform=transform)

    def _check(self) -> None:
        """Refuse what is not read, before any pixel is."""
        file = self._file
        bands = len(self._indexes)
        dtype = file.dtypes[0]
        if self._is_label_map:
            self._check_label_map(bands, dtype)
        if dtype not in _DTYPES:
            raise unreadable(
                self.path, f"values of {dtype}", f"one of {', '.join(_DTYPES)}", "Convert it with gdal_translate -ot."
            )
        if not 1 <= bands <= MAX_BANDS:
            fix = "Choose some of them, e.g. with gdal_translate -b 4 -b 3 -b 2."
            raise unreadable(self.path, f"{bands} bands", f"1 to {MAX_BANDS}", fix)
        height, width = file.block_shapes[0]
        together = file.count if file.interleaving == self._rasterio.enums.Interleaving.pixel else 1
        block = height * width * np.dtype(dtype).itemsize * together
        if block > MAX_BLOCK_BYTES:
            raise unreadable(
                self.path,
                f"blocks (tiles or strips) of {height} x {width} pixels, {block / 2**20:.0f} MiB each",
                f"at most {MAX_BLOCK_BYTES >> 20} MiB, because a block is the least that can be read",
                "Write it anew in tiles: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER IN OUT",
            )

    def _check_label_map(self, bands: int, dtype: str) -> None:
        file = self._file
        expected = "one band of whole numbers, the class numbers, without lossy compression"
        is_grey_as_rgb = bands == 3 and dtype == "uint8"
        if not (bands == 1 or is_grey_as_rgb) or "int" not in dtype or "complex" in dtype:
            found = f"{bands} band{'s'[: bands != 1]} of {dtype}"
            raise unreadable(self.path, found, expected, "Convert it, e.g. with gdal_translate -b 1 -ot Byte.")
        if file.compression is not None and file.compression.name.lower() in _LOSSY:
            found = f"{file.compression.name.upper()} compression, which invents values that are no classes"
            raise unreadable(self.path, found, expected, "Export it again from its source, e.g. with COMPRESS=DEFLATE.")

    def _as_labels(self, values: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
        """One band (1, h, w) in the raster's dtype."""
        if len(values) > 1 and (values[0] != values).any():
            raise unreadable(
                self.path,
                f"a colour mask: {values.shape[0]} bands that differ in {_place(rows, columns)}",
                "one band whose values are class numbers",
                "Convert its colours to class numbers.",
            )
        values = values[:1]
        if values.dtype == self.dtype:
            return values
        if values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint16).max):
            raise unreadable(
                self.path,
                f"values from {values.min()} to {values.max()} in {_place(rows, columns)}",
                "class numbers from 0 to 65535",
                "Give other values (nodata too) a number in this range, and name it in a data.yaml's `classes:`.",
            )
        return values.astype(self.dtype)

    def _read_palette(self) -> NDArray[np.uint8] | None:
        """(256 or 65536, 3) uint8: the colours of a file with a palette; black beyond them."""
        file = self._file
        if file.colorinterp[0] != self._rasterio.enums.ColorInterp.palette or file.dtypes[0] not in _LABEL_DTYPES:
            return None
        colours = np.zeros((np.iinfo(file.dtypes[0]).max + 1, 3), np.uint8)
        for value, colour in file.colormap(1).items():
            colours[value] = colour[:3]
        return colours

    def _stored(self, indexes: list[int], rows: slice, columns: slice, *, of_mask: bool = False) -> NDArray[Any]:
        """Values (bands, h, w) of the file, or of its mask band."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if height == 0 or width == 0:
            return np.empty((len(indexes), height, width), np.uint8 if of_mask else self._file.dtypes[0])
        window = self._rasterio.windows.Window(columns.start, rows.start, width, height)
        with self._lock, self._told(_place(rows, columns)), gdal():
            read = self._file.read_masks if of_mask else self._file.read
            return read(indexes, window=window)

    @contextmanager
    def _told(self, place: str) -> Iterator[None]:
        """Turn what GDAL and rasterio raise into an ImageError with the place."""
        try:
            yield
        except ImageError:
            raise
        except MemoryError as error:
            raise unreadable(
                self.path, f"{place}: too large for this machine's memory", "a smaller window", ""
            ) from error
        except Exception as error:
            reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
            raise unreadable(
                self.path, f"damaged or missing TIFF data in {place} ({reason})", "a whole TIFF file", _RESTORE
            ) from error


def _place(rows: slice, columns: slice) -> str:
    return f"rows {rows.start} to {rows.stop}, columns {columns.start} to {columns.stop}"
