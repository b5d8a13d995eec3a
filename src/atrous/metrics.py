"""Scores from one integer confusion matrix over the whole set (VOC's definition: devkit `VOCevalseg`).

Ignored pixels never enter. A class that is neither in the ground truth nor predicted is absent: it is left out of every
mean and listed, instead of counting as 0, 1 or NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ConfusionMatrix", "Scores", "scores_from_counts"]

Counts = NDArray[np.int64]
LabelMap = NDArray[np.integer]


class ConfusionMatrix:
    """Pixel counts `counts[truth, predicted]`, int64, added over any number of images in any order."""

    def __init__(self, num_classes: int, *, ignore_index: int = 255) -> None:
        self.counts: Counts = np.zeros((num_classes, num_classes), np.int64)
        self.ignore_index = ignore_index

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.counts)

    def update(self, label_map: LabelMap, mask: LabelMap) -> Counts:
        """Add one image and return its own counts.

        Args:
            label_map: predicted class ids (H, W), any integer type.
            mask: true class ids of the same shape, with `ignore_index` where there is no truth.

        Raises:
            ValueError: shapes differ, or an id is not a class.
        """
        if label_map.shape != mask.shape:
            raise ValueError(f"prediction is {label_map.shape} and mask {mask.shape}; both must be (height, width)")
        k = self.num_classes
        # Void becomes row K of a (K + 1, K) matrix, which is then dropped: cheaper than selecting the valid pixels.
        void = mask == self.ignore_index
        truth = np.where(void, k, mask).astype(np.int64)
        predicted = label_map.astype(np.int64)
        if truth.size and not (0 <= truth.min() and truth.max() <= k and 0 <= predicted.min() and predicted.max() < k):
            raise ValueError(f"a class id is outside 0-{k - 1} (ignore index {self.ignore_index})")
        joint = np.bincount((truth * k + predicted).ravel(), minlength=(k + 1) * k)
        if joint[k * k :].sum() != np.count_nonzero(void):
            raise ValueError(f"the mask holds {k}, which is outside 0-{k - 1} (ignore index {self.ignore_index})")
        counts = joint[: k * k].reshape(k, k)
        self.counts += counts
        return counts

    def scores(self) -> "Scores":
        """Everything that follows from the counts so far."""
        return scores_from_counts(self.counts)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores in 0-1. `iou` and `accuracy` have one value per class, None where it is undefined.

    `miou` is the mean over the classes that occur in truth or prediction; `mean_accuracy` over those in the truth.
    `absent_classes` occur in neither. All means are None when there is no labelled pixel at all.
    """

    miou: float | None
    iou: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    pixel_accuracy: float | None
    mean_accuracy: float | None
    frequency_weighted_iou: float | None
    absent_classes: tuple[int, ...]


def scores_from_counts(counts: Counts) -> Scores:
    """Compute all scores from `counts[truth, predicted]`, int (K, K)."""
    hits = [int(value) for value in np.diagonal(counts)]
    truth = [int(value) for value in counts.sum(axis=1)]
    predicted = [int(value) for value in counts.sum(axis=0)]
    total = sum(truth)
    iou = tuple(_ratio(h, t + p - h) for h, t, p in zip(hits, truth, predicted, strict=True))
    accuracy = tuple(_ratio(h, t) for h, t in zip(hits, truth, strict=True))
    weighted = sum(t * value for t, value in zip(truth, iou, strict=True) if value is not None)
    return Scores(
        miou=_mean(iou),
        iou=iou,
        accuracy=accuracy,
        pixel_accuracy=_ratio(sum(hits), total),
        mean_accuracy=_mean(accuracy),
        frequency_weighted_iou=weighted / total if total else None,
        absent_classes=tuple(index for index, value in enumerate(iou) if value is None),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
