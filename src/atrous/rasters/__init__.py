"""Huge rasters: read by window, label maps written by rows, and rows kept on disk so that interrupted work goes on."""

from atrous.rasters.georeference import Georeference
from atrous.rasters.opening import open_label_raster, open_raster
from atrous.rasters.raster import MAX_BANDS, Raster, count_not_finite
from atrous.rasters.rows import RowStore
from atrous.rasters.writing import write_label_raster

__all__ = [
    "MAX_BANDS",
    "Georeference",
    "Raster",
    "RowStore",
    "count_not_finite",
    "open_label_raster",
    "open_raster",
    "write_label_raster",
]
