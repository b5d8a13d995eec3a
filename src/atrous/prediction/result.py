"""What a model says of one image."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.annotations import write_scores
from atrous.engines import (
    Coarse,
    confidence,
    label_map,
    probabilities,
    probability_strips,
)
from atrous.images import Pixels, write_image, write_mask
from atrous.labels import Labels
from atrous.notebook import as_html
from atrous.overlay import overlay
from atrous.preprocessing import Preprocessing
from atrous.regions import TAG_SHARE, Outline, Transform, as_features, class_table, class_tags, find_regions, outlines

__all__ = ["Prediction"]

ImageArray = NDArray[np.uint8]


class Prediction:
    """What a model says of one image.

    `label_map` is (H, W) uint8 (uint16 above 256 classes), at the image's own size. `image` is (H, W, bands) as it was
    read. `missing_pixels` of it hold no value (NaN, infinity, nodata): they went in as the mean of the training images.
    """

    def __init__(
        self,
        image: Pixels,
        views: Sequence[Coarse],
        labels: Labels,
        *,
        path: Path | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.image = image
        self.labels = labels
        self.path = path
        self._preprocessing = preprocessing or Preprocessing()
        missing = self._preprocessing.missing(image)
        self.missing_pixels = 0 if missing is None else int(np.count_nonzero(missing))
        self._views = tuple(views)
        self.label_map: NDArray[np.integer] = label_map(self._views, self.size)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """Probabilities (K, H, W) float32, computed when first asked for."""
        return probabilities(self._views, self.size)

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """The best class's probability, (H, W) float32, computed when first asked for without the others."""
        return confidence(self._views, self.size)

    def picture(self) -> ImageArray:
        """The image as people see it, (H, W, 3) uint8: RGB as it is; of other bands the first three, stretched."""
        return self._preprocessing.as_picture(self.image)

    def overlay(self, *, opacity: float = 0.5, legend: bool = True) -> ImageArray:
        """The image with the classes in colour, and a legend: (H', W, 3) uint8."""
        return overlay(self.picture(), self.label_map, self.labels, opacity=opacity, legend=legend)

    def outlines(
        self,
        *,
        min_area: int = 1,
        simplify: float = 0,
        pixel_area: float | None = None,
        area_unit: str = "m2",
    ) -> list[Outline]:
        """Regions with their measures, and their rings as arrays; arguments as for `polygons`."""
        return outlines(
            self.label_map,
            self.labels,
            min_area=min_area,
            simplify=simplify,
            confidence=self.confidence,
            pixel_area=pixel_area,
            area_unit=area_unit,
        )

    def polygons(
        self,
        *,
        min_area: int = 1,
        simplify: float = 0,
        pixel_area: float | None = None,
        area_unit: str = "m2",
        transform: Transform | None = None,
    ) -> list[dict[str, Any]]:
        """Regions as GeoJSON features with class, area and mean confidence; areas equal pixel counts.

        Args:
            min_area: Regions of fewer pixels are left out.
            simplify: Tolerance in pixels for fewer points; 0 is exact, more needs the extra `geo`.
            pixel_area: What one pixel covers, in `area_unit`; gives each region its `area`.
            area_unit: The unit's name.
            transform: Six numbers a, b, c, d, e, f: coordinates (a x + b y + c, d x + e y + f) in place of pixels.
        """
        found = self.outlines(min_area=min_area, simplify=simplify, pixel_area=pixel_area, area_unit=area_unit)
        return as_features(found, transform)

    def table(
        self, *, min_area: int = 1, pixel_area: float | None = None, area_unit: str = "m2"
    ) -> list[dict[str, Any]]:
        """Regions as rows: class, area in pixels, half-open box (top, left, bottom, right), centroid (y, x).

        With each its mean confidence, and with `pixel_area`, what one pixel covers in `area_unit`, its physical area.
        """
        found = find_regions(
            self.label_map,
            self.labels,
            min_area=min_area,
            confidence=self.confidence,
            pixel_area=pixel_area,
            area_unit=area_unit,
        )
        return [region.as_row() for region in found]

    def shares(self) -> list[dict[str, Any]]:
        """The classes present with their pixels and their share of the image, the largest first."""
        return class_table(self.label_map, self.labels)

    def tags(self, *, least: float = TAG_SHARE) -> dict[str, float]:
        """The classes that fill more than `least` of the image: names with their shares, the largest first."""
        return class_tags(self.shares(), least=least)

    def save_mask(self, path: str | Path) -> None:
        """Write the label map as a palette PNG (16-bit above 256 classes)."""
        write_mask(Path(path), self.label_map, self.labels)

    def save_overlay(self, path: str | Path) -> None:
        """Write the overlay with its legend as PNG or JPEG, by the suffix."""
        write_image(Path(path), self.overlay())

    def save_scores(self, path: str | Path) -> None:
        """Write the probabilities as `.npz`: `scores` (K, H, W) float16, and `names`; they are never all in memory."""
        shape = (self.labels.num_classes, *self.size)
        write_scores(Path(path), probability_strips(self._views, self.size), shape, self.labels.names)

    def __repr__(self) -> str:
        classes = ", ".join(f"{row['class_name']} {row['share']:.0%}" for row in self.shares()[:4])
        return f"Prediction({self.size[0]}x{self.size[1]}: {classes})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay, at most 1,000 pixels wide or high, and the classes."""
        return as_html(self.overlay(), self.shares(), self.labels, title=repr(self))
