"""Images of any number of bands, in the numbers that their files hold."""

import importlib
import threading
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.errors import MissingExtraError
from atrous.images.faults import TILES, UnreadableError, unreadable
from atrous.images.kinds import PixelKind, StoredPixels, stored_pixels
from atrous.images.opening import MAX_PIXELS, check_size, opened, orientation, recognised
from atrous.images.pictures import read_image, upright
from atrous.preprocessing import Preprocessing

__all__ = ["Pixels", "kind_of_bands", "read_bands", "read_pixels"]

Pixels = NDArray[np.uint8 | np.uint16 | np.float32]

MAX_BYTES = 2**31
"""Most memory that one decoded image may take: eight bands of uint16 with 134 million pixels."""
RGB_SAMPLES = 3  # a fourth may be multiplied into the others, which Pillow would undo
MOST_SAMPLES = 4
"""That Pillow opens; of files with more it also writes a line to standard error."""
_ALIKE = "Choose images like those that the model was trained on, or a model for these."
_quiet = threading.Lock()  # around `catch_warnings`, which is one for all threads


def read_pixels(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Read an image as a model does: (H, W, bands), RGB in 8 bits or the file's own numbers.

    Raises:
        ImageError: a file that cannot be read, or that has other bands or numbers than the model; the message names both.
        MissingExtraError: a file of several bands without rasterio.
    """
    if preprocessing.pixels != "rgb":
        wanted = PixelKind(bands=preprocessing.bands, dtype=preprocessing.pixels, is_photo=False)
        return read_bands(path, wanted)
    stored = stored_pixels(path)
    told = unreadable(path, str(stored.kind), "RGB in 8 bits", _ALIKE)
    if stored.samples > MOST_SAMPLES:
        raise told
    try:
        return read_image(path)
    except UnreadableError:
        if stored.kind.is_photo:
            raise
        raise told from None


def read_bands(path: Path, wanted: PixelKind | None = None, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read an image as it is: (H, W, bands), upright, uint8 or uint16, or float32 for every other number type.

    Transparency is left out, unless it is among the bands that are `wanted`. In float32 the file's value for missing
    pixels (GDAL's nodata) is NaN. A TIFF file of so many one-band pages as bands are wanted is read as these bands.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or GIF.
        wanted: what the file should be, by number of bands and number type; by default it is read whatever it is.
        max_pixels: the most that are decoded, checked before decoding.

    Raises:
        ImageError: a file that is not a readable image, is larger than allowed, or is not as it is wanted.
        MissingExtraError: a TIFF file that only rasterio reads, without it.
    """
    stored = stored_pixels(path)
    kind = stored.kind
    bands = wanted.bands if wanted is not None else kind.bands
    in_pages = _may_be_pages(stored, bands) and _count_pages(path) == bands
    if wanted is not None and (in_pages or not kind.is_photo):
        has_bands = in_pages or bands in (kind.bands, stored.samples)
        if not has_bands or kind.dtype != wanted.dtype:
            raise unreadable(path, str(kind), _plainly(wanted), _ALIKE)
    if stored.size is not None:
        _check(path, stored, bands, max_pixels)
    if in_pages:
        pixels = _pages(path, bands, max_pixels)
    elif kind.is_photo and not (stored.format == "TIFF" and bands == stored.samples > RGB_SAMPLES):
        pixels = _photo(path, wanted, max_pixels)
    elif stored.format == "PNG":
        pixels = _png(path, stored, max_pixels)
    elif stored.by_pillow:
        pixels = _pages(path, 1, max_pixels)
    else:
        pixels = upright(_by_rasterio(path, wanted or kind), stored.turn)
    return np.ascontiguousarray(own_type(pixels[..., :bands], stored.nodata))


def kind_of_bands(path: Path, bands: int) -> PixelKind | None:
    """What a file holds if it is read as so many bands: as they are, transparency or pages among them; None if it cannot.

    Raises:
        ImageError: a file whose header cannot be read.
    """
    stored = stored_pixels(path)
    kind = stored.kind
    if kind.is_photo:
        with opened(path, max_pixels=None) as (image, _):
            channels = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(image.mode, 3)
            has_bands = bands in (channels, channels - (image.mode in ("LA", "RGBA")))
    else:
        has_bands = bands in (kind.bands, stored.samples)
    if has_bands or (_may_be_pages(stored, bands) and _count_pages(path) == bands):
        return PixelKind(bands=bands, dtype=kind.dtype, is_photo=False, nodata=kind.nodata)
    return None


def _count_pages(path: Path) -> int:
    """How many pages (frames) a file has.

    Raises:
        ImageError: a file that Pillow cannot open.
    """
    with opened(path, max_pixels=None) as (image, _):
        return int(getattr(image, "n_frames", 1))


def _may_be_pages(stored: StoredPixels, bands: int) -> bool:
    return stored.format == "TIFF" and stored.samples == 1 < bands


def _plainly(kind: PixelKind) -> str:
    return f"{kind.bands} band{'s'[: kind.bands != 1]} of {kind.dtype}"


def _check(path: Path, stored: StoredPixels, bands: int, max_pixels: int) -> None:
    """Refuse what is too large before anything is decoded."""
    assert stored.size is not None
    check_size(path, stored.size, max_pixels)
    taken = stored.size[0] * stored.size[1] * max(bands, stored.samples) * np.dtype(stored.kind.dtype).itemsize
    if taken > MAX_BYTES:
        found = f"{stored.size[0]} x {stored.size[1]} pixels (height x width), {stored.kind}, are {taken / 1e9:.1f} GB"
        raise unreadable(path, found, f"at most {MAX_BYTES / 1e9:.1f} GB", TILES)


def own_type(pixels: NDArray[Any], nodata: float | None) -> Pixels:
    """The same numbers as uint8, uint16 or float32; in float32, `nodata` becomes NaN."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told as such
        missing = None if nodata is None else pixels == nodata
        plain = pixels.astype(np.float32)
    if missing is not None and missing.any():
        plain[missing] = np.nan
    return plain


def _photo(path: Path, wanted: PixelKind | None, max_pixels: int) -> NDArray[np.uint8]:
    """A photo's channels as they are stored; palettes, CMYK and others become RGB. Transparency is the last channel."""
    with opened(path, max_pixels=max_pixels) as (image, _):
        image.load()
        plain = image if image.mode in ("L", "LA", "RGB", "RGBA") else _converted(image)
        pixels = np.array(plain).reshape(plain.height, plain.width, -1)
        pixels = upright(pixels, orientation(image))
    channels, alpha = pixels.shape[2], plain.mode in ("LA", "RGBA")
    if wanted is None:
        return pixels[..., : channels - alpha]
    if wanted.dtype != "uint8" or wanted.bands not in (channels, channels - alpha):
        kind = PixelKind(bands=channels - alpha, is_photo=False)
        raise unreadable(path, str(kind), _plainly(wanted), _ALIKE)
    return pixels


def _converted(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def _png(path: Path, stored: StoredPixels, max_pixels: int) -> NDArray[np.uint16]:
    """A PNG of 16 bits, through OpenCV, after Pillow has found it whole: OpenCV fills up what is damaged."""
    with opened(path, max_pixels=max_pixels) as (image, file):
        image.load()
        turn = orientation(image)
        file.seek(0)
        decoded = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise unreadable(path, "a PNG that OpenCV cannot read", "16 bits a channel", "Save it again.")
    pixels = np.asarray(decoded, np.uint16).reshape(*decoded.shape[:2], -1)
    if pixels.shape[2] >= 3:  # OpenCV has blue first; and makes four channels of grey with transparency
        pixels = pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    if stored.samples == 2 and pixels.shape[2] == 4:
        pixels = pixels[..., [0, 3]]
    return upright(pixels, turn)


def _pages(path: Path, pages: int, max_pixels: int) -> NDArray[Any]:
    """One-band pages as bands."""
    with opened(path, max_pixels=max_pixels) as (image, _):
        found: list[NDArray[Any]] = []
        for number in range(pages):
            image.seek(number)
            check_size(path, (image.height, image.width), max_pixels)
            image.load()
            found.append(np.array(image.convert("L") if image.mode in ("1", "P") else image))
        shapes = {(page.shape, page.dtype) for page in found}
        if len(shapes) > 1 or found[0].ndim != 2:
            raise unreadable(path, f"{pages} pages that differ in size or type", "equal pages", "Save one band a page.")
        return np.stack(found, axis=2)


def _by_rasterio(path: Path, kind: PixelKind) -> NDArray[Any]:
    """(H, W, samples) of a TIFF file. Only GDAL's TIFF reader is asked, and it looks at no other file."""
    try:
        rasterio: Any = importlib.import_module("rasterio")
    except ImportError:
        raise MissingExtraError(
            f"{path} holds {kind}, which is read through rasterio, and that is not installed: pip install 'atrous[geo]'"
        ) from None
    with recognised(path), rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(path.resolve(), driver="GTiff")
        with file:
            return np.moveaxis(file.read(), 0, 2)
