"""A validation: the network as it would be saved now, measured; the best model kept; history and pictures kept fresh."""

import copy
import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

from atrous.allocator import give_back_freed_memory
from atrous.checkpoint import save_model
from atrous.data.samples import Dataset
from atrous.evaluation import Report, evaluate_samples
from atrous.models.deeplab import DeepLab
from atrous.optim import WeightAverage
from atrous.prediction import Model
from atrous.training.balance import add_to_biases, take_back_tilt
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.position import Position
from atrous.training.run_folder import RunFolder
from atrous.training.tuning import best_shift, sample_logits, some_samples
from atrous.training.watching import WORST_IMAGES, draw_curves, open_board, show_worst

__all__ = ["Validator"]

Check = Callable[[], None]

PAGE_IMAGES = 9
DRAWING_SECONDS = 1.0  # of curves and pictures


class Validator:
    """Measures on the val split, and writes what a validation changes in the run folder."""

    def __init__(self, dataset: Dataset, plan: Plan, run: RunFolder, narrator: Narrator, *, first_step: int) -> None:
        self.dataset, self.plan, self.run, self.narrator = dataset, plan, run, narrator
        self.samples = dataset.splits.get("val", ())
        self.tuning = some_samples(dataset.splits["train"], most=plan.config.tune_images)
        self.board = open_board(run.board, first_step=first_step)
        self.best: Report | None = None
        self.seconds = 0.0
        """What a validation takes: the last one's time, or a guess."""
        self.image_seconds = 0.0
        """What one image of it takes."""

    @property
    def closing_seconds(self) -> float:
        """What comes after the last validation, about: the final files, and a page with nine predictions."""
        return 4.0 + PAGE_IMAGES * self.image_seconds

    def model(self, network: DeepLab, average: WeightAverage | None, *, check: Check = lambda: None) -> Model:
        """The network as it would be saved now.

        It has the running mean of the weights where there is one, and biases without the class weights' tilt that give
        the best mIoU on some training images. `check` is called after every image and may raise.
        """
        finished = copy.deepcopy(network)
        if average is not None:
            finished.load_state_dict(average.tensors)
        if self.plan.class_weights is not None:
            take_back_tilt(finished, self.plan.class_weights, share=self.plan.config.untilt)
        model = self._as_model(finished)
        if self.tuning:
            shift = best_shift(*sample_logits(model, self.dataset, self.tuning, check=check))
            add_to_biases(finished, shift.tolist())
        return model

    def _as_model(self, network: DeepLab) -> Model:
        return Model(
            network,
            labels=self.dataset.labels,
            preprocessing=self.plan.preprocessing,
            device=str(self.plan.device),
        )

    def guess_seconds(self, network: DeepLab) -> None:
        """Guess the time of a validation from a few images."""
        samples = (*self.samples, *self.tuning)
        few = some_samples(samples, most=4)
        if not few:
            return
        model = self._as_model(copy.deepcopy(network))
        evaluate_samples(model, self.dataset, few[:1], split="val")
        begin = time.monotonic()
        evaluate_samples(model, self.dataset, few, split="val")
        self.image_seconds = (time.monotonic() - begin) / len(few)
        self.seconds = self.image_seconds * (len(samples) + WORST_IMAGES) + DRAWING_SECONDS

    def validate(
        self, position: Position, network: DeepLab, average: WeightAverage | None, *, rate: float, check: Check
    ) -> None:
        """Make the model of now, measure it, keep it if it is the best, and add a row to the history.

        `check` is called after every image and may raise to end the validation; then nothing has changed.
        """
        begin = time.monotonic()
        give_back_freed_memory()  # what steps keep for themselves fits nothing here, nor the other way round
        model = self.model(network, average, check=check)
        report = None
        if self.samples:
            report = evaluate_samples(
                model, self.dataset, self.samples, split="val", progress=lambda done, total: check()
            )
        row = self._row(position, report, rate)
        better = position.judge(row, miou=None if report is None else report.miou or 0.0)
        if better:
            self.best = report
            save_model(
                self.run.model,
                model.network,
                labels=self.dataset.labels,
                preprocessing=self.plan.preprocessing,
                scores=None if report is None else _stored_scores(report),
            )
        self.run.write_history(position.history)
        draw_curves(self.run.curves, position.history)
        self.board.add(row)
        if report is not None:
            show_worst(self.run.worst, report, model, self.dataset)
        del model
        gc.collect()  # a graph of layers refers to itself, and holds the weights that were laid out
        give_back_freed_memory()
        self.seconds = time.monotonic() - begin
        self.narrator.note(_line(row, better))

    def _row(self, position: Position, report: Report | None, rate: float) -> dict[str, Any]:
        images = position.step * self.plan.batch
        return {
            "step": position.step,
            "epoch": round(images / len(self.dataset.splits["train"]), 3),
            "progress": round(position.progress, 4),
            "loss": round(position.loss, 6),
            "val_loss": None if report is None or report.loss is None else round(report.loss, 6),
            "val_miou": None if report is None or report.miou is None else round(report.miou, 6),
            "rate": rate,
            "gradient_norm": round(position.gradient_norm, 6),
            "images_per_second": round(images / max(position.trained_seconds, 1e-9), 3),
            "seconds": round(position.trained_seconds, 1),
        }


def _line(row: Mapping[str, Any], better: bool) -> str:
    """A row of the history as people read it."""
    score = "-" if row["val_miou"] is None else f"{row['val_miou']:.4f}"
    val_loss = "-" if row["val_loss"] is None else f"{row['val_loss']:.3f}"
    return (
        f"epoch {row['epoch']:.1f}  step {row['step']}  loss {row['loss']:.3f}  val loss {val_loss}  "
        f"val mIoU {score}{' (best)' if better else ''}  {row['images_per_second']:.1f} images/s  "
        f"{duration(row['seconds'])}"
    )


def _stored_scores(report: Report) -> dict[str, Any]:
    """What the model file keeps of a validation."""
    kept = ("split", "miou", "iou", "pixel_accuracy", "images", "engine", "precision", "data_fingerprint")
    scores = report.as_json()
    return {key: scores[key] for key in kept}
