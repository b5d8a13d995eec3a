"""The last layer's biases that give the best mIoU: chosen on training images, once the weights are learned.

A network trained with cross entropy answers with the most likely class of every pixel. That is best for pixel accuracy;
the mean IoU gains when rare and thin classes are drawn a little more readily. One number per class decides how readily.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.data.loader import read_pair
from atrous.data.samples import Dataset, Sample
from atrous.engines import resize_logits
from atrous.prediction import Model

__all__ = ["best_shift", "sample_logits", "some_samples"]

PIXELS = 400_000
GRID = np.arange(-40, 41) * 0.05  # changes of one bias that are tried at a time, in units of the logits
LARGEST_SHIFT = 2.0
ROUNDS = 3
WORTH = 1e-5  # of mIoU: smaller gains are left alone


def some_samples(samples: Sequence[Sample], *, most: int) -> tuple[Sample, ...]:
    """At most `most` of the samples, spread evenly over them."""
    if len(samples) <= most:
        return tuple(samples)
    return tuple(samples[index * len(samples) // most] for index in range(most))


def sample_logits(
    model: Model, dataset: Dataset, samples: Sequence[Sample], *, check: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """Logits (K, P) float32 and true classes (P,) int64 of labelled pixels of whole images, on a regular grid of each.

    P is at most about 400,000. `check` is called after every image and may raise.
    """
    logits, truth = [], []
    for sample in samples:
        image, mask = read_pair(sample, dataset, model.preprocessing)
        every = max(1, int(np.ceil(np.sqrt(mask.size * len(samples) / PIXELS))))
        resized = resize_logits(model.coarse_logits(image), (mask.shape[0], mask.shape[1]))[0]
        seen = np.ascontiguousarray(mask[::every, ::every])
        valid = torch.from_numpy(seen != dataset.labels.ignore_index)
        logits.append(resized[:, ::every, ::every].cpu()[:, valid])
        truth.append(torch.from_numpy(seen.astype(np.int64))[valid])
        check()
    return torch.cat(logits, dim=1), torch.cat(truth)


def best_shift(logits: Tensor, truth: Tensor) -> NDArray[np.float64]:
    """What to add to each class's logit for the best mIoU on these pixels: (K,) float64, at most 2 either way.

    One class after the other takes the value that is best while the others stay, three times over; each value is found
    by counting, not by trying: a pixel changes to the class at a margin that is known.

    Args:
        logits: (K, P) float32.
        truth: (P,) int64, 0 to K - 1.
    """
    shift = np.zeros(len(logits))
    if not truth.numel() or len(logits) < 2:
        return shift
    moved = logits.clone()
    for _ in range(ROUNDS):
        before = shift.copy()
        for index in range(len(logits)):
            scores = _miou_along(moved, truth, index)
            allowed = np.abs(shift[index] + GRID) <= LARGEST_SHIFT + 1e-9
            scores[~allowed] = -1
            stay = len(GRID) // 2
            # Of equal scores the smallest change.
            best = max(np.flatnonzero(scores >= scores.max()), key=lambda at: -abs(GRID[at]))
            if scores[best] > scores[stay] + WORTH:
                shift[index] += GRID[best]
                moved[index] += GRID[best]
        if (shift == before).all():
            break
    return shift


def _miou_along(logits: Tensor, truth: Tensor, index: int) -> NDArray[np.float64]:
    """The mIoU of the classes in `truth` for every value of `GRID` that is added to the logit of class `index`.

    Beside class `index`, a pixel belongs to the best of the other classes; it changes over where the added value passes
    the margin between them.
    """
    classes = len(logits)
    values, order = logits.topk(2, dim=0)
    first_is_own = order[0] == index
    other = torch.where(first_is_own, order[1], order[0])
    margin = torch.where(first_is_own, values[1], values[0]) - logits[index]
    step = np.searchsorted(GRID, margin.numpy(), side="right")  # from this value on the pixel is of class `index`
    other, true = other.numpy(), truth.numpy()
    size = (len(GRID) + 1, classes)
    lost = np.bincount(step * classes + other, minlength=size[0] * classes).reshape(size).cumsum(axis=0)
    hit = other == true
    lost_hits = np.bincount((step * classes + other)[hit], minlength=size[0] * classes).reshape(size).cumsum(axis=0)
    won_hits = np.bincount(step[true == index], minlength=size[0]).cumsum()
    hits = lost_hits[-1] - lost_hits[:-1]
    predicted = lost[-1] - lost[:-1]
    hits[:, index], predicted[:, index] = won_hits[:-1], lost[:-1].sum(axis=1)
    pixels = np.bincount(true, minlength=classes)
    union = pixels + predicted - hits
    return (hits / np.maximum(union, 1))[:, pixels > 0].mean(axis=1)
