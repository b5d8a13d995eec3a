"""Huge rasters: read by window, label maps written by rows, and rows kept on disk so that interrupted work goes on."""

from atrous.rasters.georeference import Georeference
from atrous.rasters.opening import is_windowed, open_label_raster, open_raster
from atrous.rasters.raster import MAX_BANDS, Raster, count_not_finite
from atrous.rasters.rows import RowStore
from atrous.rasters.tiff_header import read_tiff_header
from atrous.rasters.writing import write_label_raster

__all__ = [
    "MAX_BANDS",
    "Georeference",
    "Raster",
    "RowStore",
    "count_not_finite",
    "is_windowed",
    "open_label_raster",
    "open_raster",
    "read_tiff_header",
    "write_label_raster",
]
