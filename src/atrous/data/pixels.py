"""How the images of a data set are read: as RGB in 8 bits, or all their bands in their own numbers."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from atrous.data.samples import SPLITS, Bands, Dataset
from atrous.errors import DataError, ImageError
from atrous.images import PHOTO, PixelKind, kind_of_bands, pixel_kind
from atrous.preprocessing import Preprocessing

__all__ = ["as_read", "choose_pixels", "fits_data", "kind_read_by", "other_kind"]

FIRST_IMAGES = 8
_START = "Images: "


def choose_pixels(dataset: Dataset, bands: Bands) -> Dataset:
    """The data set with what its images are read as, and a note for the user where that is not plain RGB.

    With `bands` "auto" the headers of the first images say it: what most of them hold. Photographs (8 bits; grey, palette,
    RGB, CMYK, with or without transparency) are read as RGB; files of other bands or numbers as they are.

    Raises:
        DataError: a number of bands that the first images do not have.
    """
    if bands == "auto":
        kind, note = _by_headers(dataset)
    elif bands == "rgb":
        kind, note = PHOTO, "read as RGB in 8 bits, as asked (bands: rgb); 16-bit values are scaled down by 257."
    else:
        kind, note = _as_asked(dataset, bands)
    notes = [line for line in dataset.notes if not line.startswith(_START)]
    if note:
        notes.append(_START + note)
    return dataclasses.replace(dataset, pixels=kind, bands=bands, notes=tuple(notes))


def as_read(kind: PixelKind) -> Preprocessing:
    """The preprocessing that says how files of a kind are read, and does nothing to their values yet."""
    if kind.is_photo:
        return Preprocessing()
    bands = kind.bands
    return Preprocessing(
        bands=bands,
        value_range=(0.0, 1.0),
        mean=(0.0,) * bands,
        std=(1.0,) * bands,
        pixels=kind.dtype,
        nodata=kind.nodata,
    )


def fits_data(preprocessing: Preprocessing | None, kind: PixelKind) -> bool:
    """Whether a model's preprocessing reads images of a kind as they are read here; None reads none."""
    if preprocessing is None:
        return False
    wanted = as_read(kind)
    return (preprocessing.pixels, preprocessing.bands) == (wanted.pixels, wanted.bands)


def kind_read_by(preprocessing: Preprocessing) -> PixelKind:
    """What the files of a model's images hold."""
    if preprocessing.pixels == "rgb":
        return PHOTO
    return PixelKind(bands=preprocessing.bands, dtype=preprocessing.pixels, is_photo=False, nodata=preprocessing.nodata)


def other_kind(path: Path, dataset: Dataset) -> PixelKind | None:
    """What an image holds, by its header, if that cannot be read as the data set's images are; None if it can.

    Raises:
        ImageError: a file whose header cannot be read.
    """
    wanted = dataset.pixels
    if dataset.bands == "rgb":
        return None
    found = pixel_kind(path)
    if wanted.is_photo:
        return None if found.is_photo else found
    fitting = kind_of_bands(path, wanted.bands)
    return None if fitting is not None and fitting.dtype == wanted.dtype else found


def _by_headers(dataset: Dataset) -> tuple[PixelKind, str]:
    kinds = list(_kinds(_first_images(dataset)))
    if not kinds:
        return PHOTO, ""
    kind, count = Counter(kinds).most_common(1)[0]
    if kind.is_photo:
        return kind, ""
    first = f"the first {len(kinds)}" if len(kinds) > 1 else "the first"
    reason = f"the headers of {first} say so" if count == len(kinds) else f"{count} of {first} are"
    return kind, f"{kind}, because {reason}; they are read as they are (`bands: rgb` in a data.yaml reads 8-bit RGB)."


def _as_asked(dataset: Dataset, bands: int) -> tuple[PixelKind, str]:
    paths = _first_images(dataset)
    for path in paths:
        with suppress(ImageError):
            kind = kind_of_bands(path, bands)
            if kind is not None:
                return kind, f"{kind}, as asked (bands: {bands})."
    found = ", ".join(sorted({str(kind) for kind in _kinds(paths)})) or "none can be read"
    raise DataError(
        f"{dataset.root}: bands is {bands}, but none of the first {len(paths)} images has as many (found: {found}). "
        "Expected the number of bands, or of one-band pages, in the image files. Correct `bands`, or leave "
        "it out: the files say it."
    )


def _kinds(paths: Sequence[Path]) -> Iterator[PixelKind]:
    """What the files hold that can be read."""
    for path in paths:
        with suppress(ImageError):
            yield pixel_kind(path)


def _first_images(dataset: Dataset) -> list[Path]:
    return [sample.image for name in SPLITS for sample in dataset.splits.get(name, ())][:FIRST_IMAGES]
