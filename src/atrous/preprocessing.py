"""From pixels to what a network reads: the one preprocessing that training, evaluation, prediction and export share."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.errors import ImageError

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing"]

# RGB, as fractions of the value range; torchvision's weights and most others were trained with these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESIZE_RULES = ("none", "longest side", "scale")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an image becomes a network's input.

    A value v of band c becomes (f - mean[c]) / std[c], where f is v as a fraction of the value range: 0 for its lower
    and 1 for its upper end. With `resize` "none" images enter at their own size; with "longest side" they are resized
    first, so that their longer side has `resize_to` pixels; with "scale", to `resize_scale` times their size.
    Last, height and width are filled up to multiples of `pad_to`, at the bottom and at the right, with the neutral colour:
    then all maps of a network have whole strides, as they had in training, and none is stretched.

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

    def standardise(self, fractions: NDArray[np.floating]) -> NDArray[np.floating]:
        """(f - mean) / std of fractions of the value range (..., bands), in float64."""
        return (fractions - np.asarray(self.mean)) / np.asarray(self.std)

    def neutral_colour(self) -> NDArray[np.float64]:
        """The pixel value of each band, (bands,) in the value range, that becomes 0: what padding should hold."""
        low, high = self.value_range
        return low + np.asarray(self.mean) * (high - low)

    def prepare(self, image: NDArray[np.integer | np.floating]) -> NDArray[np.float32]:
        """The network's input for an image (H, W, bands) as it was read: resized by the rule, normalised, filled up.

        Raises:
            ImageError: an image with another number of bands.
        """
        content = self.normalise(self.resized(image))
        height, width = self.input_size((image.shape[0], image.shape[1]))
        if (height, width) == content.shape[:2]:
            return content
        padded = np.zeros((height, width, self.bands), np.float32)
        padded[: content.shape[0], : content.shape[1]] = content
        return padded

    def resized(self, image: NDArray[np.integer | np.floating]) -> NDArray[np.integer | np.floating]:
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

    def normalise(self, image: NDArray[np.integer | np.floating]) -> NDArray[np.float32]:
        """The network's input for an image (H, W, bands): (H, W, bands) float32, bands last.

        uint8 goes through a table of 256 entries per band, which gives the formula's values exactly and several times
        faster. Bands stay last because that is the memory order in which convolutions run fastest; a permuted view
        makes it (C, H, W).

        Raises:
            ImageError: an image with another number of bands.
        """
        if image.ndim != 3 or image.shape[2] != self.bands:
            raise ImageError(
                f"an image of shape {image.shape} was given to a model of {self.bands} bands. "
                f"Expected (height, width, {self.bands}). Choose images with these bands, or a model for yours."
            )
        if image.dtype != np.uint8:
            return self._by_formula(image)
        table = self._by_formula(np.arange(256)[:, None].repeat(self.bands, axis=1))
        looked_up = cv2.LUT(np.ascontiguousarray(image), table[:, None])
        return np.asarray(looked_up, np.float32).reshape(image.shape)  # OpenCV drops the axis of a single band

    def _by_formula(self, image: NDArray[np.integer | np.floating]) -> NDArray[np.float32]:
        """The plain computation, in float64 until the end."""
        low, high = self.value_range
        return self.standardise((image.astype(np.float64) - low) / (high - low)).astype(np.float32)
