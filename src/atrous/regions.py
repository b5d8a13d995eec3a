"""What a label map holds: classes with their areas, connected regions, and polygons that follow the pixel edges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError
from atrous.labels import Labels

__all__ = ["REGION_FIELDS", "Region", "class_table", "count_pixels", "find_regions", "polygons"]

BAND = 1 << 20  # pixels that are counted at once: numpy widens them to 8 bytes

REGION_FIELDS = (
    "class_id", "class_name", "area_pixels", "top", "left", "bottom", "right", "centroid_y", "centroid_x",
)  # fmt: skip
"""The columns of a region's row."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected piece of one class; pixels that only touch at a corner are not connected.

    `box` is (top, left, bottom, right) in pixels, half-open. `centroid` is the mean (row, column) of its
    pixels, so that a region of one pixel has that pixel's indices.
    """

    class_id: int
    class_name: str
    area_pixels: int
    box: tuple[int, int, int, int]
    centroid: tuple[float, float]

    def as_row(self) -> dict[str, Any]:
        """The region as one flat row of a table."""
        top, left, bottom, right = self.box
        return {
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


def count_pixels(label_map: NDArray[np.integer], labels: Labels) -> NDArray[np.int64]:
    """Pixels of each class (K,) in a label map (H, W) of class ids; void is not counted.

    Raises:
        DataError: the map is not an integer (H, W) array, or holds a value that is neither a class nor void.
    """
    if label_map.ndim != 2 or label_map.dtype.kind not in "ui":
        raise DataError(
            f"a label map is an array {label_map.shape} of {label_map.dtype}, expected (height, width) class ids as "
            "integers. Take the argmax over the classes of one image first."
        )
    known = max(labels.num_classes, labels.ignore_index + 1)
    counts = np.zeros(known, np.int64)
    flat = label_map.reshape(-1)
    for start in range(0, flat.size, BAND):
        band = flat[start : start + BAND]
        if int(band.min()) < 0 or int(band.max()) >= known:
            _refuse(label_map, labels)
        counts += np.bincount(band, minlength=known)
    unknown = counts[labels.num_classes :].copy()
    if labels.ignore_index >= labels.num_classes:
        unknown[labels.ignore_index - labels.num_classes] = 0
    if unknown.any():
        _refuse(label_map, labels)
    return counts[: labels.num_classes]


def _refuse(label_map: NDArray[np.integer], labels: Labels) -> None:
    wrong = ((label_map < 0) | (label_map >= labels.num_classes)) & (label_map != labels.ignore_index)
    y, x = (int(place) for place in np.argwhere(wrong)[0])
    raise DataError(
        f"a label map holds {int(label_map[y, x])} at (y={y}, x={x}), expected 0-{labels.num_classes - 1} or "
        f"{labels.ignore_index} (void). Give the labels that the map was made with."
    )


def class_table(label_map: NDArray[np.integer], labels: Labels) -> list[dict[str, Any]]:
    """The classes that a label map (H, W) holds, the largest first.

    Returns:
        Rows with `class_id`, `class_name`, `pixels` and `share`, 0-1 of all pixels of the picture, void ones too.

    Raises:
        DataError: the map holds a value that is neither a class nor void.
    """
    counts = count_pixels(label_map, labels).tolist()
    present = sorted((-count, index) for index, count in enumerate(counts) if count)
    return [
        {
            "class_id": index,
            "class_name": labels.names[index],
            "pixels": -negative,
            "share": -negative / label_map.size,
        }
        for negative, index in present
    ]


def find_regions(label_map: NDArray[np.integer], labels: Labels, *, min_area: int = 1) -> list[Region]:
    """The connected regions of every class in a label map (H, W), the largest first; void is no region.

    Args:
        label_map: Class ids.
        labels: Their names and the value that is void.
        min_area: Regions of fewer pixels are left out.

    Raises:
        DataError: the map holds a value that is neither a class nor void.
    """
    regions = [region for region, _, _ in _regions(label_map, labels, min_area)]
    return sorted(regions, key=lambda region: (-region.area_pixels, region.class_id, region.box))


def _regions(
    label_map: NDArray[np.integer], labels: Labels, min_area: int
) -> Iterator[tuple[Region, NDArray[np.int32], int]]:
    """Every region with a numbered map of its box (a view) and its number there."""
    for class_id in np.flatnonzero(count_pixels(label_map, labels)).tolist():
        inside = (label_map == class_id).view(np.uint8)
        left, top, width, height = cv2.boundingRect(inside)
        part = np.ascontiguousarray(inside[top : top + height, left : left + width])
        _, numbers, stats, centroids = cv2.connectedComponentsWithStats(part, connectivity=4, ltype=cv2.CV_32S)
        for number in (np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area) + 1).tolist():
            x, y, across, down, area = stats[number].tolist()
            region = Region(
                class_id=class_id,
                class_name=labels.names[class_id],
                area_pixels=area,
                box=(top + y, left + x, top + y + down, left + x + across),
                centroid=(top + float(centroids[number, 1]), left + float(centroids[number, 0])),
            )
            yield region, np.asarray(numbers[y : y + down, x : x + across], np.int32), number


def polygons(label_map: NDArray[np.integer], labels: Labels, *, min_area: int = 1) -> list[dict[str, Any]]:
    """The regions as GeoJSON features whose rings follow the pixel edges, the largest first.

    The area of a polygon, its outer ring less its holes, is the number of its pixels exactly, and rasterising it gives
    the region back. (cv2.findContours runs through pixel centres and is 1.6 % short.) Coordinates are (x, y) in pixels
    from the top left corner of the picture, whole numbers. Rings are closed and never touch themselves; the outer ring
    comes first and has a positive shoelace sum over (x, y), holes a negative one.

    Args:
        label_map: Class ids (H, W).
        labels: Their names and the value that is void.
        min_area: Regions of fewer pixels are left out (and stay holes in what is around them).

    Raises:
        DataError: the map holds a value that is neither a class nor void.
    """
    canvas = np.zeros((label_map.shape[0] + 2, label_map.shape[1] + 2) if label_map.ndim == 2 else (0, 0), np.int32)
    regions: list[Region] = []
    for region, numbers, number in _regions(label_map, labels, min_area):
        regions.append(region)
        top, left, bottom, right = region.box
        canvas[top + 1 : bottom + 1, left + 1 : right + 1][numbers == number] = len(regions)
    rings = _rings(canvas, len(regions))
    features = [
        {
            "type": "Feature",
            "properties": {
                "class_id": region.class_id,
                "class_name": region.class_name,
                "area_pixels": region.area_pixels,
            },
            "geometry": {"type": "Polygon", "coordinates": coordinates},
        }
        for region, coordinates in zip(regions, rings, strict=True)
    ]
    order = sorted(
        range(len(regions)),
        key=lambda index: (-regions[index].area_pixels, regions[index].class_id, regions[index].box),
    )
    return [features[index] for index in order]


def _corners(canvas: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where the border of a region turns: rows of (region, y, x, horizontal tie, vertical tie).

    Each lattice point lies between four pixels. A pixel's own region turns there if both of its neighbours across the
    point's two lines are of another region (a convex corner), or both are of its own but the one opposite is not (a
    concave one). Where two pixels of a region meet only at the point, both count: the ties say which of the two comes
    first along the row (0: its edge runs left) and along the column (0: its edge runs up). They are set so that a ring
    goes around the pixels between the two, one by one; then no ring touches itself.
    """
    a, b, c, d = canvas[:-1, :-1], canvas[:-1, 1:], canvas[1:, :-1], canvas[1:, 1:]
    parts: list[NDArray[np.int64]] = []
    for own, beside, across, opposite, ties in (
        (a, b, c, d, (0, 1)),
        (b, a, d, c, (1, 1)),
        (c, d, a, b, (0, 0)),
        (d, c, b, a, (1, 0)),
    ):
        level, upright = own == beside, own == across
        turns = (level == upright) & ~(level & (own == opposite)) & (own > 0)
        y, x = np.nonzero(turns)
        tie = np.broadcast_to(np.array(ties, np.int64), (y.size, 2))
        parts.append(np.column_stack([own[y, x].astype(np.int64), y, x, tie]))
    return np.concatenate(parts)


def _partners(first: NDArray[np.int64], second: NDArray[np.int64], third: NDArray[np.int64]) -> list[int]:
    """Corners in the order of three keys are joined two by two: for each the index of its partner."""
    key = (first * (int(second.max()) + 1) + second) * (int(third.max()) + 1) + third
    order = np.argsort(key)
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner.tolist()


def _rings(canvas: NDArray[np.int32], count: int) -> list[list[list[list[int]]]]:
    """For regions 1 to `count` their closed rings, the outer one first, from a map with a border of one 0."""
    rings: list[list[list[list[int]]]] = [[] for _ in range(count)]
    if not count:
        return rings
    corners = _corners(canvas)
    # From the top down: the first corner met of a region is on its outer ring.
    corners = corners[np.argsort(corners[:, 1] * canvas.shape[1] + corners[:, 2], kind="stable")]
    region, y, x = corners[:, 0], corners[:, 1], corners[:, 2]
    level = _partners(region, y, x * 2 + corners[:, 3])
    upright = _partners(region, x, y * 2 + corners[:, 4])
    owner, points = region.tolist(), corners[:, [2, 1]].tolist()
    done = bytearray(len(owner))
    for start in range(len(owner)):
        if done[start]:
            continue
        ring: list[list[int]] = []
        at, doubled = start, 0
        while not done[at]:
            end = level[at]
            done[at] = done[end] = 1
            ring += (points[at], points[end])
            doubled -= (points[end][0] - points[at][0]) * points[at][1]  # the area under a level edge, by Green
            at = upright[end]
        found = rings[owner[start] - 1]
        if (doubled > 0) == bool(found):
            ring[1:] = ring[:0:-1]
        ring.append(ring[0])
        found.append([list(point) for point in ring])
    return rings
