"""The pixels of every class in a label map, as counts, shares and tags."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError
from atrous.labels import Labels

__all__ = ["TAG_SHARE", "class_table", "class_tags", "count_pixels"]

BAND = 1 << 20  # pixels that are counted at once: numpy widens them to 8 bytes
TAG_SHARE = 0.01
"""A class that fills more than this share of a picture is one of its tags; less is often a handful of wrong pixels."""


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


def class_tags(table: list[dict[str, Any]], *, least: float = TAG_SHARE) -> dict[str, float]:
    """Of a class table the classes that fill more than `least` of the picture: names with shares, the largest first.

    Classes of one name are one tag.
    """
    shares: dict[str, float] = {}
    for row in table:
        shares[row["class_name"]] = shares.get(row["class_name"], 0.0) + row["share"]
    return {name: share for name, share in sorted(shares.items(), key=lambda item: -item[1]) if share > least}
