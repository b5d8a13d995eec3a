"""Measuring a model on a data set: whole images at their own size, the same forward path as prediction."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atrous.data.loader import Pair, read_pair
from atrous.data.samples import Dataset, Sample
from atrous.engines import Coarse, label_map
from atrous.errors import DataError
from atrous.labels import Labels
from atrous.losses.banded import resized_pixel_losses
from atrous.metrics import ConfusionMatrix, Scores, scores_from_counts
from atrous.prediction import Model
from atrous.preprocessing import Preprocessing

__all__ = ["SINGLE", "ImageScore", "Report", "Views", "choose_split", "evaluate_model", "evaluate_samples"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Views:
    """What is averaged for every image: scales of the size at which it would enter, and mirror images."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    @property
    def count(self) -> int:
        """How often the network runs for an image."""
        return len(self.scales) * (2 if self.flip else 1)

    @property
    def is_single(self) -> bool:
        """Whether the network runs once, on the image as it is."""
        return self.count == 1 and self.scales == (1.0,)


SINGLE = Views()


@dataclass(frozen=True, kw_only=True)
class ImageScore:
    """One image's own confusion counts, from which its mIoU over the classes it holds or predicts."""

    sample: Sample
    miou: float | None
    pixel_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Scores of a model on one split of a data set.

    `counts[truth, predicted]` are pixels; everything else follows from them, but for `loss`, the mean cross entropy over
    all labelled pixels (None where there are none).
    """

    labels: Labels
    split: str
    counts: NDArray[np.int64]
    scores: Scores
    loss: float | None
    images: tuple[ImageScore, ...]
    engine: str
    precision: str
    fingerprint: str
    dataset: Dataset | None = field(default=None, repr=False)
    views: Views = SINGLE

    @property
    def miou(self) -> float | None:
        """Mean intersection over union of the classes that occur."""
        return self.scores.miou

    @property
    def iou(self) -> dict[str, float | None]:
        """Class name -> intersection over union, None for an absent class."""
        return dict(zip(self.labels.names, self.scores.iou, strict=True))

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Pixels, (K, K) int64: rows are the truth, columns the prediction."""
        return self.counts

    def as_json(self) -> dict[str, Any]:
        """What `metrics.json` and `evaluate --json` hold."""
        return {
            "format_version": 1,
            "split": self.split,
            "miou": self.scores.miou,
            "iou": self.iou,
            "pixel_accuracy": self.scores.pixel_accuracy,
            "mean_accuracy": self.scores.mean_accuracy,
            "frequency_weighted_iou": self.scores.frequency_weighted_iou,
            "loss": self.loss,
            "images": len(self.images),
            "absent_classes": [self.labels.names[index] for index in self.scores.absent_classes],
            "accuracy": dict(zip(self.labels.names, self.scores.accuracy, strict=True)),
            "confusion": self.counts.tolist(),
            "engine": self.engine,
            "scales": list(self.views.scales),
            "flip": self.views.flip,
            "precision": self.precision,
            "data_fingerprint": self.fingerprint,
        }


def choose_split(dataset: Dataset, split: str) -> Sequence[Sample]:
    """The samples of a split.

    Raises:
        DataError: the split is missing or empty; the message lists those that exist.
    """
    samples = dataset.splits.get(split, ())
    if not samples:
        found = ", ".join(f"{name} ({len(members)})" for name, members in dataset.splits.items() if members) or "none"
        raise DataError(f"{dataset.root}: no images in split {split!r}; found: {found}. Choose one with --split.")
    return samples


def evaluate_model(
    model: Model,
    dataset: Dataset,
    *,
    split: str = "val",
    views: Views = SINGLE,
    progress: Progress | None = None,
) -> Report:
    """Measure `model` on `split`. `progress` is called with (images done, images in all).

    Images are read as the model reads them, in prediction too, whatever the data set would be trained with.

    With several `views` their probabilities are averaged; the report then has no loss.

    Raises:
        DataError: a missing split, classes or bands that differ from the model's, or files that cannot be used.
    """
    if dataset.labels.num_classes != model.labels.num_classes:
        raise DataError(
            f"{dataset.root}: {dataset.labels.num_classes} classes ({', '.join(dataset.labels.names[:5])}, ...) but the "
            f"model has {model.labels.num_classes} ({', '.join(model.labels.names[:5])}, ...); they must be the same. "
            "Map the classes in a data.yaml."
        )
    samples = choose_split(dataset, split)
    model.expect(len(samples) * views.count)
    return evaluate_samples(model, dataset, samples, split=split, views=views, progress=progress)


def evaluate_samples(
    model: Model,
    dataset: Dataset,
    samples: Sequence[Sample],
    *,
    split: str,
    views: Views = SINGLE,
    progress: Progress | None = None,
) -> Report:
    """Measure `model` on the given samples; see `evaluate_model`.

    Nothing is prepared as for a large job (`Model.expect`): training's validations stay within the memory that was planned.
    """
    matrix = ConfusionMatrix(model.labels.num_classes, ignore_index=dataset.labels.ignore_index)
    images: list[ImageScore] = []
    loss_sum = pixels = 0.0
    fingerprint = hashlib.sha256()
    for done, (sample, (image, mask)) in enumerate(_read_ahead(samples, dataset, model.preprocessing), start=1):
        found = model.views(image, scales=views.scales, flip=views.flip)
        counts = matrix.update(label_map(found, (mask.shape[0], mask.shape[1])), mask)
        if views.is_single:
            total, weight = _loss(found[0], mask, dataset.labels.ignore_index)
            loss_sum, pixels = loss_sum + total, pixels + weight
        own = scores_from_counts(counts)
        images.append(ImageScore(sample=sample, miou=own.miou, pixel_accuracy=own.pixel_accuracy))
        for part in (sample.name.encode(), image.tobytes(), mask.tobytes()):
            fingerprint.update(part)
        if progress is not None:
            progress(done, len(samples))
    return Report(
        labels=model.labels,
        split=split,
        counts=matrix.counts,
        scores=matrix.scores(),
        loss=loss_sum / pixels if pixels else None,
        images=tuple(images),
        engine=model.engine.name,
        precision=model.engine.precision,
        views=views,
        fingerprint=fingerprint.hexdigest()[:16],
        dataset=dataset,
    )


def _loss(coarse: Coarse, mask: NDArray[np.integer], ignore_index: int) -> tuple[float, float]:
    """Cross entropy summed over the labelled pixels, and their number."""
    target = torch.from_numpy(mask.astype(np.int64))[None]
    losses = resized_pixel_losses(coarse.logits.cpu(), target, ignore_index=ignore_index, cover=coarse.cover)
    return float(losses.double().sum()), float((target != ignore_index).sum())


def _read_ahead(
    samples: Sequence[Sample], dataset: Dataset, preprocessing: Preprocessing
) -> Iterator[tuple[Sample, Pair]]:
    """Read the next few pairs while the network works on this one."""
    ahead = 2
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending = [pool.submit(read_pair, sample, dataset, preprocessing) for sample in samples[:ahead]]
        try:
            for position, sample in enumerate(samples):
                pair = pending.pop(0).result()
                if position + ahead < len(samples):
                    pending.append(pool.submit(read_pair, samples[position + ahead], dataset, preprocessing))
                yield sample, pair
        finally:
            for future in pending:
                future.cancel()
