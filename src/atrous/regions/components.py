"""The connected regions of a label map with their sizes and places."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ConfigError, DataError
from atrous.labels import Labels
from atrous.regions.counting import count_pixels
from atrous.regions.runs import Runs, find_runs

__all__ = ["REGION_FIELDS", "Region", "Regions", "find_regions", "measure"]


REGION_FIELDS = tuple("class_id class_name area_pixels top left bottom right centroid_y centroid_x".split())
"""The columns of a region's row that are always there."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected piece of one class; pixels that only touch at a corner are not connected.

    `box` is (top, left, bottom, right) in pixels, half-open. `centroid` is the mean (row, column) of its
    pixels, so that a region of one pixel has that pixel's indices. `mean_confidence`, 0-1, is there where a map of
    confidence was given, `area` in `area_unit` where the area of a pixel was.
    """

    class_id: int
    class_name: str
    area_pixels: int
    box: tuple[int, int, int, int]
    centroid: tuple[float, float]
    mean_confidence: float | None = None
    area: float | None = None
    area_unit: str = ""

    def as_row(self) -> dict[str, Any]:
        """The region as one flat row of a table; what is not known is left out."""
        top, left, bottom, right = self.box
        row = {
            "class_id": self.class_id,
            "class_name": self.class_name,
            "area_pixels": self.area_pixels,
            "top": top,
            "left": left,
            "bottom": bottom,
            "right": right,
            "centroid_y": round(self.centroid[0], 3),
            "centroid_x": round(self.centroid[1], 3),
        }
        return row | self.measures()

    def measures(self) -> dict[str, Any]:
        """Mean confidence, physical area and its unit, as far as they are known."""
        found: dict[str, Any] = {}
        if self.mean_confidence is not None:
            found["mean_confidence"] = round(self.mean_confidence, 4)
        if self.area is not None:
            found |= {"area": self.area, "area_unit": self.area_unit}
        return found


@dataclass(frozen=True)
class Regions:
    """The regions of a label map, the largest first, and the runs of pixels that they consist of."""

    found: list[Region]
    components: NDArray[np.int64]  # (len(found),) the component that is each region
    runs: Runs
    shape: tuple[int, int]

    def numbered(self, *, others: bool) -> NDArray[np.int32]:
        """A map of the regions' numbers (H + 2, W + 2): 1 to len(found) in their order, a border of 0 around them.

        What is no region (void, and regions left out) is 0, or with `others` a number of its own for each piece.
        """
        count = self.runs.values.size
        number = np.zeros(count, np.int32)
        number[self.components] = np.arange(1, self.components.size + 1)
        if others:
            rest = np.flatnonzero(number == 0)
            number[rest] = np.arange(self.components.size + 1, count + 1)
        canvas = np.zeros((self.shape[0] + 2, self.shape[1] + 2), np.int32)
        canvas[1:-1, 1:-1] = np.repeat(number[self.runs.component], self.runs.lengths).reshape(self.shape)
        return canvas


def find_regions(
    label_map: NDArray[np.integer],
    labels: Labels,
    *,
    min_area: int = 1,
    confidence: NDArray[np.floating] | None = None,
    pixel_area: float | None = None,
    area_unit: str = "m2",
) -> list[Region]:
    """The connected regions of every class in a label map (H, W), the largest first; void is no region.

    Args:
        label_map: Class ids.
        labels: Their names and the value that is void.
        min_area: Regions of fewer pixels are left out.
        confidence: Probability of each pixel's class, (H, W) float32; gives each region its mean.
        pixel_area: What one pixel covers, in `area_unit`; gives each region its physical area.
        area_unit: The unit's name.

    Raises:
        DataError: the map holds a value that is neither a class nor void, or `confidence` has another size.
        ConfigError: a `pixel_area` that is no positive number.
    """
    return measure(
        label_map,
        labels,
        min_area=min_area,
        confidence=confidence,
        pixel_area=pixel_area,
        area_unit=area_unit,
    ).found


def measure(
    label_map: NDArray[np.integer],
    labels: Labels,
    *,
    min_area: int,
    confidence: NDArray[np.floating] | None,
    pixel_area: float | None,
    area_unit: str,
) -> Regions:
    """What `find_regions` gives, with the pixels of each region. Arguments and errors are the same."""
    count_pixels(label_map, labels)
    if confidence is not None and confidence.shape != label_map.shape:
        raise DataError(
            f"the confidence is an array {confidence.shape}, the label map {label_map.shape}; expected the same "
            "height and width. Give the confidence of this image."
        )
    if pixel_area is not None and not (math.isfinite(pixel_area) and pixel_area > 0):
        raise ConfigError(f"pixel_area is {pixel_area}, expected a positive number: what one pixel covers.")
    height, width = label_map.shape
    if not label_map.size:
        return Regions([], np.zeros(0, np.int64), find_runs(np.zeros((1, 1), np.uint8)), (1, 1))
    runs = find_runs(label_map)
    areas = _sums(runs, runs.lengths)
    kept = np.flatnonzero((runs.values != labels.ignore_index) & (areas >= min_area))
    boxes = _boxes(runs, (height, width))
    order = np.lexsort((*boxes[kept].T[::-1], runs.values[kept], -areas[kept]))
    kept = kept[order]
    centroids = _centroids(runs, width)[kept].tolist()
    means = [None] * kept.size if confidence is None else (_confidences(runs, confidence) / areas)[kept].tolist()
    found = [
        Region(
            class_id=class_id,
            class_name=labels.names[class_id],
            area_pixels=area,
            box=(box[0], box[1], box[2], box[3]),
            centroid=(centroid[0], centroid[1]),
            mean_confidence=mean,
            area=None if pixel_area is None else area * pixel_area,
            area_unit="" if pixel_area is None else area_unit,
        )
        for class_id, area, box, centroid, mean in zip(
            runs.values[kept].tolist(), areas[kept].tolist(), boxes[kept].tolist(), centroids, means, strict=True
        )
    ]
    return Regions(found, kept, runs, (height, width))


def _sums(runs: Runs, of_runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(C,) the sum over each component's runs; exact, as sums of pixels and of their places stay below 2**53."""
    return np.bincount(runs.component, of_runs, runs.values.size).astype(np.int64)


def _boxes(runs: Runs, shape: tuple[int, int]) -> NDArray[np.int32]:
    """(C, 4): top, left, bottom, right."""
    row, column = (place.astype(np.int32) for place in np.divmod(runs.starts, shape[1]))
    count = runs.values.size
    bottom, right = np.zeros((2, count), np.int32)
    left = np.full(count, shape[1], np.int32)
    np.maximum.at(bottom, runs.component, row + 1)
    np.minimum.at(left, runs.component, column)
    np.maximum.at(right, runs.component, column + runs.lengths.astype(np.int32))
    return np.column_stack([row[runs.first], left, bottom, right])


def _centroids(runs: Runs, width: int) -> NDArray[np.float64]:
    """(C, 2): the mean row and column."""
    row, column = np.divmod(runs.starts, width)
    rows = _sums(runs, row * runs.lengths)
    columns = _sums(runs, runs.lengths * (2 * column + runs.lengths - 1))
    areas = _sums(runs, runs.lengths)
    return np.column_stack([rows / areas, columns / (2 * areas)])


def _confidences(runs: Runs, confidence: NDArray[np.floating]) -> NDArray[np.float64]:
    """(C,) the sums of the confidences of each component's pixels."""
    of_runs = np.add.reduceat(confidence.reshape(-1), runs.starts, dtype=np.float64)
    return np.bincount(runs.component, of_runs, runs.values.size).astype(np.float64)
