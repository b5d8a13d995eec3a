"""GDAL, held to the one file that it was given: no sidecar files, no network, no other format than TIFF.

A TIFF can name other files for its overviews, and GDAL opens any of its 200 formats under any name, some of which fetch
addresses. So the driver is always named, and the options below close the rest, whatever the environment says.
"""

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atrous.errors import MissingExtraError

__all__ = ["gdal", "has_rasterio", "open_tiff", "rasterio_for", "takes_path"]

_DRIVER = "GTiff"
CACHE_BYTES = 64 * 2**20  # of decoded blocks, for all open files of the process
_OPTIONS: dict[str, Any] = {
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # neither lists the folder nor looks for files beside
    "GDAL_PAM_ENABLED": False,  # nor .aux.xml, neither read nor written
    "GDAL_GEOREF_SOURCES": "INTERNAL",  # nor world files
    "ESRI_XML_PAM": False,
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",  # the only address that may be fetched is no address
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "none",
    "GDAL_HTTP_MAX_RETRY": 0,
    "GDAL_HTTP_TIMEOUT": 1,
    "GTIFF_POINT_GEO_IGNORE": False,
    "OGR_CT_FORCE_TRADITIONAL_GIS_ORDER": False,
    "PROJ_NETWORK": "OFF",
}
_opening = threading.Lock()  # the filter of warnings belongs to the whole process


def has_rasterio() -> bool:
    """Whether rasterio is installed and can be loaded."""
    try:
        importlib.import_module("rasterio")
    except ImportError:
        return False
    return True


def rasterio_for(path: Path, purpose: str) -> Any:
    """The module rasterio. Raises MissingExtraError, with the purpose ('is written by'), where it is missing."""
    try:
        return importlib.import_module("rasterio")
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: {purpose} rasterio, which is not installed; expected it. Run: pip install 'atrous[geo]'"
        ) from error


def takes_path(path: Path) -> bool:
    """Whether GDAL opens the file that a path names: it wants UTF-8, and has its own meaning for /vsi..."""
    absolute = path.absolute().as_posix()
    try:
        absolute.encode()
    except UnicodeEncodeError:
        return False
    return not absolute.startswith("/vsi")


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL's options for the body, in this thread."""
    rasterio: Any = importlib.import_module("rasterio")
    with rasterio.Env(session=rasterio.session.DummySession(), **_OPTIONS):
        yield


def open_tiff(path: Path, mode: str = "r", **profile: Any) -> Any:
    """Open a TIFF with rasterio, inside `gdal()`; without a warning where the file has no georeference."""
    rasterio: Any = importlib.import_module("rasterio")
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path.absolute(), mode, driver=_DRIVER, sharing=False, **profile)
