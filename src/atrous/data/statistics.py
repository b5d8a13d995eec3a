"""The range, mean and deviation of every band over training images, from a sample of their pixels."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atrous.data.loader import read_pair
from atrous.data.pixels import as_read
from atrous.data.samples import Dataset, Sample
from atrous.errors import DataError
from atrous.preprocessing import Preprocessing

__all__ = ["BandStatistics", "measure_bands"]

MOST_IMAGES = 256
MOST_PIXELS = 2**20
"""Of all images together: 64 MB of sixteen bands, and a percentile is off by a hundredth of one."""
PERCENTILES = (0.5, 99.5)
"""nnU-Net's for CT (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z). Minimum and maximum may be one broken pixel's."""


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """What training images hold: `preprocessing` scales by it, and `summary` says in a sentence how it was found.

    `constant` are the numbers of the bands that hold one value only, from 1.
    """

    preprocessing: Preprocessing
    summary: str
    constant: tuple[int, ...]


def measure_bands(dataset: Dataset, samples: Sequence[Sample]) -> BandStatistics:
    """Measure the bands of a data set that is not of RGB images on `samples`, without void and missing pixels.

    Each band's range goes from its 0.5th to its 99.5th percentile, and, where these are equal, from its lowest to its
    highest value. Mean and deviation are of values that are clipped as in `Preprocessing`. The sample depends on the images'
    names alone.

    Raises:
        DataError: files that cannot be used, or no pixel with a value.
    """
    kind = dataset.pixels
    assert not kind.is_photo
    number = min(len(samples), MOST_IMAGES)
    chosen = [samples[index * len(samples) // number] for index in range(number)]
    drawn = [_draw(sample, dataset, MOST_PIXELS // len(chosen)) for sample in chosen]
    pixels = np.concatenate(drawn)
    if not len(pixels):
        raise DataError(
            f"{dataset.root}: the training images hold no pixel that has both a value and a class, so their bands cannot be "
            "scaled. Expected some. Run `atrous check` on the folder."
        )
    ranges = tuple(_range(pixels[:, band]) for band in range(kind.bands))
    mean, std = zip(*(_moments(pixels[:, band], *ranges[band]) for band in range(kind.bands)), strict=True)
    return BandStatistics(
        preprocessing=Preprocessing.of_bands(kind.dtype, ranges=ranges, mean=mean, std=std, nodata=kind.nodata),
        summary=f"{len(pixels):,} pixels of {len(chosen):,} of {len(samples):,} training images",
        constant=tuple(band + 1 for band in range(kind.bands) if pixels[:, band].min() == pixels[:, band].max()),
    )


def _draw(sample: Sample, dataset: Dataset, most: int) -> NDArray[np.integer | np.floating]:
    """At most `most` pixels (P, bands) of an image that have a value and a class: all, or some by its name."""
    image, mask = read_pair(sample, dataset, as_read(dataset.pixels))
    flat = image.reshape(-1, image.shape[2])
    valid = np.flatnonzero(mask != dataset.labels.ignore_index)
    if len(valid) > most:
        rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
        valid = valid[rng.integers(len(valid), size=most)]
    return flat[valid]


def _range(values: NDArray[np.integer | np.floating]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(values.astype(np.float64), PERCENTILES))
    if low == high:
        low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else (low, low + max(1.0, abs(low)))


def _moments(values: NDArray[np.integer | np.floating], low: float, high: float) -> tuple[float, float]:
    """Mean and deviation of values, clipped as `Preprocessing.limits` says; the deviation of a constant band is 1."""
    width = high - low
    clipped = np.clip(values.astype(np.float64), low - width, high + width)
    deviation = float(clipped.std())
    return float(clipped.mean()), deviation if deviation > 0 else 1.0
