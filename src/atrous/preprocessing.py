"""From pixels to what a network reads: the one preprocessing that training, evaluation, prediction and export share."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.errors import ImageError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing"]

# RGB, as fractions of the value range; torchvision's weights and most others were trained with these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZE_RULES = ("none", "longest side", "scale")
PIXELS = ("rgb", "uint8", "uint16", "float32")

Image = NDArray[np.integer | np.floating]
"""(H, W, bands) as it was read."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input.

    A value v of band c becomes (f - mean[c]) / std[c], where f is v as a fraction of the value range: 0 for its lower
    and 1 for its upper end. Missing values become 0, and with `band_ranges` values are clipped at the width of their
    band's range outside of it: one broken pixel cannot outshine an image. With `resize` "none" images enter at their own
    size; with "longest side" they are resized first, so that their longer side has `resize_to` pixels; with "scale", to
    `resize_scale` times their size. Last, height and width are filled up to multiples of `pad_to`, at the bottom and at the
    right, with the neutral colour: then all maps of a network have whole strides, as they had in training, and none is
    stretched.

    Raises:
        ValueError: values that contradict each other, e.g. three means for four bands.
    """

    bands: int = 3
    """Bands (channels) of the image; 3 is RGB."""
    value_range: tuple[float, float] = (0.0, 255.0)
    """Pixel values that count as 0 and as 1."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Per band, as a fraction of the value range."""
    std: tuple[float, ...] = IMAGENET_STD
    """Per band, as a fraction of the value range."""
    resize: Literal["none", "longest side", "scale"] = "none"
    """The rule by which an image is resized before the network."""
    resize_to: int | None = None
    """Pixels of the longest side; None for another rule."""
    resize_scale: float | None = None
    """The factor of both sides, 0.1 to 10; None for another rule."""
    pad_to: int = 1
    """What height and width of the network's input are multiples of, 1 to 256; 1 leaves them."""
    pixels: Literal["rgb", "uint8", "uint16", "float32"] = "rgb"
    """How files are read: as RGB in 8 bits, whatever they hold; or all their bands in this number type."""
    band_ranges: tuple[tuple[float, float], ...] | None = None
    """Per band, two pixel values between which nearly all lie: what is drawn black and white in pictures. None: the
    value range, and no value is clipped."""
    nodata: float | None = None
    """The whole number that stands for a missing pixel, where all bands hold it; None for none."""

    def __post_init__(self) -> None:
        if self.bands < 1 or len(self.mean) != self.bands or len(self.std) != self.bands:
            raise ValueError(
                f"{self.bands} bands with {len(self.mean)} means and {len(self.std)} deviations; "
                "there must be a band, and each needs one of both"
            )
        numbers = (*self.value_range, *self.mean, *self.std)
        if not all(map(math.isfinite, numbers)) or len(self.value_range) != 2:
            raise ValueError(f"value range {self.value_range}, mean {self.mean}, std {self.std}: all must be finite")
        if min(self.std) <= 0 or self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"std {self.std} must be above 0, and value range {self.value_range} must rise")
        if self.resize not in RESIZE_RULES:
            raise ValueError(f"resize rule {self.resize!r} is not known; this version knows {', '.join(RESIZE_RULES)}")
        pixels, factor = self.resize_to, self.resize_scale
        if (self.resize == "longest side") != (pixels is not None) or (pixels is not None and pixels < 1):
            raise ValueError(f"resize rule {self.resize!r} with {pixels} pixels; only 'longest side' has pixels")
        if (self.resize == "scale") != (factor is not None) or (factor is not None and not 0.1 <= factor <= 10):
            raise ValueError(f"resize rule {self.resize!r} with factor {factor}; only 'scale' has one, from 0.1 to 10")
        if not 1 <= self.pad_to <= 256:
            raise ValueError(f"pad_to is {self.pad_to}; expected 1 to 256")
        self._check_bands()

    def _check_bands(self) -> None:
        if self.pixels not in PIXELS:
            raise ValueError(f"pixels are {self.pixels!r}; this version knows {', '.join(PIXELS)}")
        if self.nodata is not None and not float(self.nodata).is_integer():
            raise ValueError(f"nodata is {self.nodata}; expected a whole number")
        ranges = self.band_ranges
        if ranges is None:
            return
        rising = all(len(pair) == 2 and all(map(math.isfinite, pair)) and pair[0] < pair[1] for pair in ranges)
        if len(ranges) != self.bands or not rising:
            raise ValueError(f"band ranges {ranges}: expected two finite, rising values for each of {self.bands} bands")

    @classmethod
    def of_bands(
        cls,
        pixels: Literal["uint8", "uint16", "float32"],
        *,
        ranges: tuple[tuple[float, float], ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        nodata: float | None = None,
    ) -> "Preprocessing":
        """The preprocessing of images in the numbers of their files, from statistics of theirs in pixel values."""
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        return cls(
            bands=len(ranges),
            value_range=(low, high),
            mean=tuple((value - low) / (high - low) for value in mean),
            std=tuple(value / (high - low) for value in std),
            pixels=pixels,
            band_ranges=ranges,
            nodata=nodata,
        )

    @property
    def ranges(self) -> NDArray[np.float64]:
        """The lower and the upper end of each band's range in pixel values, (2, bands)."""
        return np.array(self.band_ranges or (self.value_range,) * self.bands).T

    @property
    def limits(self) -> NDArray[np.float64]:
        """Between which values each band is clipped, (2, bands); infinite where it is not."""
        if self.band_ranges is None:
            return np.array([[-np.inf] * self.bands, [np.inf] * self.bands])
        low, high = self.ranges
        width = high - low
        return np.stack([low - width, high + width])

    def standardise(self, fractions: NDArray[np.floating]) -> NDArray[np.floating]:
        """(f - mean) / std of fractions of the value range (..., bands), in float64."""
        return (fractions - np.asarray(self.mean)) / np.asarray(self.std)

    def neutral_colour(self) -> NDArray[np.float64]:
        """The pixel value of each band, (bands,) in the value range, that becomes 0: what padding should hold."""
        low, high = self.value_range
        return low + np.asarray(self.mean) * (high - low)

    def missing(self, image: Image) -> NDArray[np.bool_] | None:
        """Which pixels (H, W) of an image say nothing: NaN or infinite in a band, nodata in all. None where none does."""
        if self.pixels == "rgb":
            return None
        if np.issubdtype(image.dtype, np.floating):
            missing = np.asarray(~np.isfinite(image).all(axis=2))
        elif self.nodata is not None:
            missing = np.asarray((image == int(self.nodata)).all(axis=2))
        else:
            return None
        return missing if missing.any() else None

    def cleaned(self, image: Image) -> Image:
        """The image with the neutral colour where values are missing, and clipped; itself where there is nothing to do."""
        if self.pixels == "rgb":
            return image
        is_float = np.issubdtype(image.dtype, np.floating)
        low, high = self.limits
        neutral = self.neutral_colour()
        if not is_float:
            kind = np.iinfo(image.dtype.name)
            low, high, neutral = (
                np.maximum(np.ceil(low), kind.min),
                np.minimum(np.floor(high), kind.max),
                np.rint(neutral),
            )
        low, high, neutral = (values.astype(image.dtype) for values in (low, high, neutral))
        missing = self.missing(image)
        if missing is None and bool(((image >= low) & (image <= high)).all()):
            return image
        cleaned = np.clip(image, low, high)
        if missing is not None:
            holes = ~np.isfinite(image) if is_float else missing[..., None]
            np.copyto(cleaned, neutral, where=holes)
        return cleaned

    def as_picture(self, image: Image) -> NDArray[np.uint8]:
        """What people are shown of an image: (H, W, 3) uint8.

        RGB is shown as it is. Of other images bands 1 to 3 are red, green and blue, or the first is grey where there are
        fewer; each is stretched over its range. Missing values are black.
        """
        if self.pixels == "rgb":
            return np.asarray(image, np.uint8)
        shown = [_stretched(image[..., band], *self.ranges[:, band]) for band in range(3 if self.bands >= 3 else 1)]
        return np.stack(shown if len(shown) == 3 else shown * 3, axis=2)

    def prepare(self, image: Image) -> NDArray[np.float32]:
        """The network's input for an image (H, W, bands) as it was read: resized by the rule, normalised, filled up.

        Missing values are filled and others clipped first, so that a resize does not spread them.

        Raises:
            ImageError: an image with another number of bands.
        """
        self._check_image(image)
        content = self.normalise(self.resized(self.cleaned(image)))
        height, width = self.input_size((image.shape[0], image.shape[1]))
        if (height, width) == content.shape[:2]:
            return content
        padded = np.zeros((height, width, self.bands), np.float32)
        padded[: content.shape[0], : content.shape[1]] = content
        return padded

    def resized(self, image: Image) -> Image:
        """The image (H, W, bands) at the size that the rule asks for, in its own type.

        Bilinear with antialiasing, so that a smaller image is a mean of all pixels and not a sample of some.
        """
        height, width = self.size_for((image.shape[0], image.shape[1]))
        if (height, width) == image.shape[:2]:
            return image
        import torch
        from torch.nn import functional

        # Pillow's filter; uint8 stays uint8 (fast), other types go through float32, which holds 16 bits exactly.
        own = image if image.dtype == np.uint8 else image.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(own)).permute(2, 0, 1)[None]
        smaller = functional.interpolate(tensor, size=(height, width), mode="bilinear", antialias=True)
        result = smaller[0].permute(1, 2, 0).contiguous().numpy()
        if np.issubdtype(image.dtype, np.integer) and result.dtype != image.dtype:
            result = np.rint(result)
        return result.astype(image.dtype, copy=False)

    def scaled(self, factor: float) -> "Preprocessing":
        """The same, for images that enter `factor` times as large.

        Raises:
            ValueError: a factor that leads out of the range of the rule.
        """
        if factor == 1:
            return self
        if self.resize_to is not None:
            return replace(self, resize_to=max(1, round(self.resize_to * factor)))
        return replace(self, resize="scale", resize_scale=(self.resize_scale or 1.0) * factor)

    def as_read(self) -> "Preprocessing":
        """The same for images that were resized already."""
        return replace(self, resize="none", resize_to=None, resize_scale=None)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the network's input for an image of `size` (height, width)."""
        height, width = (-(-length // self.pad_to) * self.pad_to for length in self.size_for(size))
        return height, width

    def cover(self, size: tuple[int, int]) -> tuple[float, float]:
        """The share of the input's height and width, from the top left, that an image of `size` fills."""
        content, whole = self.size_for(size), self.input_size(size)
        return content[0] / whole[0], content[1] / whole[1]

    def size_for(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width to which the rule resizes an image of `size` (height, width)."""
        if self.resize_scale is not None:
            return max(1, round(size[0] * self.resize_scale)), max(1, round(size[1] * self.resize_scale))
        if self.resize_to is None:
            return size
        scale = self.resize_to / max(size)
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    def normalise(self, image: Image) -> NDArray[np.float32]:
        """The network's input for an image (H, W, bands): (H, W, bands) float32, bands last.

        uint8 goes through a table of 256 entries per band, which gives the formula's values exactly and several times
        faster. Bands stay last because that is the memory order in which convolutions run fastest; a permuted view
        makes it (C, H, W).

        Raises:
            ImageError: an image with another number of bands.
        """
        self._check_image(image)
        if image.dtype != np.uint8:
            return self._by_formula(image)
        table = self._by_formula(np.arange(256)[:, None].repeat(self.bands, axis=1))
        looked_up = cv2.LUT(np.ascontiguousarray(image), table[:, None])
        return np.asarray(looked_up, np.float32).reshape(image.shape)  # OpenCV drops the axis of a single band

    def _check_image(self, image: Image) -> None:
        if image.ndim != 3 or image.shape[2] != self.bands:
            raise ImageError(
                f"an image of shape {image.shape} was given to a model of {self.bands} bands. "
                f"Expected (height, width, {self.bands}). Choose images with these bands, or a model for yours."
            )

    def _by_formula(self, image: Image) -> NDArray[np.float32]:
        """The plain computation, in float64 until the end."""
        low, high = self.value_range
        return self.standardise((image.astype(np.float64) - low) / (high - low)).astype(np.float32)


def _stretched(band: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """One band (H, W) in 0-255: `low` and what is below, and what is not finite, is 0; `high` and above 255."""

    def stretch(values: NDArray[Any]) -> NDArray[np.uint8]:
        fractions = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
        return np.rint(np.where(np.isfinite(values), fractions, 0) * 255).astype(np.uint8)

    if np.issubdtype(band.dtype, np.integer):
        return stretch(np.arange(np.iinfo(band.dtype).max + 1))[band]  # a table: less memory, and faster
    rows = max(1, 2**20 // max(1, band.shape[1]))
    parts = [stretch(band[start : start + rows]) for start in range(0, band.shape[0], rows)]
    return np.concatenate(parts) if parts else np.zeros(band.shape, np.uint8)
