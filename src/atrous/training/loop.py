"""The training loop. It reads top to bottom: batch, step, and what is due."""

import copy
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from atrous.allocator import keep_freed_memory
from atrous.checkpoint import save_model
from atrous.data.loader import TrainingImages, batches, cache_allowance
from atrous.data.samples import Dataset
from atrous.evaluation import Report, evaluate_samples
from atrous.files import write_atomically
from atrous.models.deeplab import DeepLab
from atrous.optim import WeightAverage, decay_for, make_optimizer, poly, set_rate
from atrous.prediction import Model
from atrous.states import save_state
from atrous.training.balance import take_back_tilt
from atrous.training.course import ClockCourse, Course, StepCourse, is_due
from atrous.training.freezing import freeze, train_mode
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.run_folder import RunFolder
from atrous.training.steps import Stepper, choose_precision

__all__ = ["Outcome", "fit"]

VALIDATION_SHARE = 0.04  # of a timed run's minutes may go into validations before the last one
SMOOTHING = 0.95


@dataclass
class Outcome:
    """What a run came to: the best validation, the rows of `history.csv`, and the number of steps."""

    best: Report | None = None
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0


class _Trainer:
    """The state of one run."""

    def __init__(self, network: DeepLab, dataset: Dataset, plan: Plan, run: RunFolder, narrator: Narrator) -> None:
        self.network, self.dataset, self.plan, self.run, self.narrator = network, dataset, plan, run, narrator
        self.config = plan.config
        self.device = plan.device
        self.preprocessing = plan.preprocessing
        freeze(network, self.config.freeze, stem=plan.freeze_stem)
        network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = make_optimizer(
            network,
            name=self.config.optimizer,
            rate=self.config.rate,
            head_factor=self.config.head_factor,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        weights = None if plan.class_weights is None else torch.tensor(plan.class_weights, device=self.device)
        self.stepper = Stepper(
            network,
            self.optimizer,
            precision=choose_precision(self.device),
            device=self.device,
            ignore_index=dataset.labels.ignore_index,
            class_weights=weights,
            auxiliary_weight=0.0 if self.config.freeze == "all-but-last" else self.config.auxiliary_weight,
            clip=self.config.clip,
        )
        self.average = WeightAverage(network, decay=decay_for(plan.expected_steps)) if self.config.average else None
        self.outcome = Outcome()
        self.validations = self.config.validations
        self.stale = 0
        self.step = 0
        self.loss = 0.0
        self.validation_seconds = 0.0

    def course(self, start: float) -> Course:
        """By the clock for `minutes`, else by steps."""
        if self.config.minutes is None:
            return StepCourse(self.plan.expected_steps)
        self._measure_validation()
        seconds = self.config.minutes * 60
        affordable = int(VALIDATION_SHARE * seconds / max(self.validation_seconds, 1e-3))
        self.validations = max(1, min(self.validations, affordable + 1))
        return ClockCourse(seconds, start=start, reserve=self._reserve())

    def _reserve(self) -> float:
        """Seconds kept for the last validation, saving, and the page."""
        return 1.1 * self.validation_seconds + self.plan.closing_seconds

    def _measure_validation(self) -> None:
        """Guess the time of a validation from a few images."""
        samples = self.dataset.splits.get("val", ())
        few = samples[:: max(1, len(samples) // 4)][:4]
        if not few:
            return
        model = self._model()
        evaluate_samples(model, self.dataset, few[:1], split="val")
        begin = time.monotonic()
        evaluate_samples(model, self.dataset, few, split="val")
        self.validation_seconds = (time.monotonic() - begin) / len(few) * len(samples)

    def train(self, start: float) -> Outcome:
        """Run to the end and return what it came to."""
        images = TrainingImages(
            self.dataset,
            self.dataset.splits["train"],
            augmentation=self.plan.augmentation,
            preprocessing=self.preprocessing,
            seed=self.config.seed,
            cache_bytes=0 if self.plan.workers else cache_allowance(),
        )
        course = self.course(start)
        stop = None if self.config.epochs is None else self.config.epochs * len(images)
        stream = batches(images, batch=self.plan.batch, stop=stop, workers=self.plan.workers)
        train_mode(self.network, self.config.freeze, stem=self.plan.freeze_stem)
        last_progress, begin = 0.0, time.monotonic()
        for batch in stream:
            set_rate(
                self.optimizer,
                poly(course.progress(self.step), power=self.config.power, warmup=self.config.warmup),
            )
            loss = self.stepper.step(batch, number=self.step)
            if self.average is not None:
                self.average.update(self.network)
            self.loss = loss if self.step == 0 else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
            self.step += 1
            progress = course.progress(self.step)
            self.narrator.status(lambda: self._status(course, begin))
            if is_due(progress, last_progress, self.validations) or progress >= 1:
                self._validate(progress, time.monotonic() - begin)
                train_mode(self.network, self.config.freeze, stem=self.plan.freeze_stem)
                if isinstance(course, ClockCourse):
                    course.reserve = self._reserve()
                if self.config.patience and self.stale >= self.config.patience:
                    self.narrator.note(f"stopped early: {self.stale} validations without a better one")
                    break
            if progress >= 1:
                break
            last_progress = progress
        self.outcome.steps = self.step
        return self.outcome

    def _status(self, course: Course, begin: float) -> str:
        elapsed = time.monotonic() - begin
        speed = self.step * self.plan.batch / max(elapsed, 1e-9)
        best = self.outcome.best
        score = f"val mIoU {best.miou:.3f}" if best is not None and best.miou is not None else "val mIoU -"
        rate = self.optimizer.param_groups[0]["lr"]
        left = duration(course.seconds_left(self.step))
        return f"step {self.step}  loss {self.loss:.3f}  {score}  rate {rate:.1e}  {speed:.1f} images/s  {left} left"

    def _model(self) -> Model:
        """The network as it would be saved now: the running mean where there is one, without the class weights' tilt."""
        network = copy.deepcopy(self.network)
        if self.average is not None:
            network.load_state_dict(self.average.tensors)
        if self.plan.class_weights is not None:
            take_back_tilt(network, self.plan.class_weights, share=self.config.untilt)
        return Model(network, labels=self.dataset.labels, preprocessing=self.preprocessing, device=str(self.device))

    def _validate(self, progress: float, elapsed: float) -> None:
        """Measure, keep the best, add a row to the history."""
        model = self._model()
        samples = self.dataset.splits.get("val", ())
        begin = time.monotonic()
        report = evaluate_samples(model, self.dataset, samples, split="val") if samples else None
        self.validation_seconds = time.monotonic() - begin
        row = self._row(progress, elapsed, report)
        self.outcome.history.append(row)
        better = report is None or self.outcome.best is None or (report.miou or 0.0) > (self.outcome.best.miou or 0.0)
        self.stale = 0 if better else self.stale + 1
        if better:
            self.outcome.best = report
            save_model(
                self.run.model,
                model.network,  # pyright: ignore[reportArgumentType]
                labels=self.dataset.labels,
                preprocessing=self.preprocessing,
                scores=None if report is None else _stored_scores(report),
            )
        self._save_last()
        self.run.write_history(self.outcome.history)
        self.narrator.note(self._line(row, better))

    def _row(self, progress: float, elapsed: float, report: Report | None) -> dict[str, Any]:
        images = self.step * self.plan.batch
        return {
            "step": self.step,
            "epoch": round(images / len(self.dataset.splits["train"]), 3),
            "progress": round(progress, 4),
            "loss": round(self.loss, 6),
            "val_loss": None if report is None or report.loss is None else round(report.loss, 6),
            "val_miou": None if report is None or report.miou is None else round(report.miou, 6),
            "rate": self.optimizer.param_groups[0]["lr"],
            "images_per_second": round(images / max(elapsed, 1e-9), 3),
            "seconds": round(elapsed, 1),
        }

    def _line(self, row: Mapping[str, Any], better: bool) -> str:
        score = "-" if row["val_miou"] is None else f"{row['val_miou']:.4f}"
        val_loss = "-" if row["val_loss"] is None else f"{row['val_loss']:.3f}"
        return (
            f"epoch {row['epoch']:.1f}  step {row['step']}  loss {row['loss']:.3f}  val loss {val_loss}  "
            f"val mIoU {score}{' (best)' if better else ''}  {row['images_per_second']:.1f} images/s  "
            f"{duration(row['seconds'])}"
        )

    def _save_last(self) -> None:
        """The newest weights and the optimiser's state, in safetensors and JSON."""
        self.run.last.mkdir(exist_ok=True)
        save_state(self.run.last / "network.safetensors", self.network.state_dict())
        save_state(self.run.last / "optimizer.safetensors", self.optimizer.state_dict())
        if self.average is not None:
            state = {"decay": self.average.decay, "steps": self.average.steps, "tensors": self.average.tensors}
            save_state(self.run.last / "average.safetensors", state)
        position = {"format_version": 1, "step": self.step, "images": self.step * self.plan.batch, "loss": self.loss}
        write_atomically(self.run.last / "state.json", (json.dumps(position, indent=2) + "\n").encode())


def _stored_scores(report: Report) -> dict[str, Any]:
    """What the model file keeps of a validation."""
    kept = ("split", "miou", "iou", "pixel_accuracy", "images", "engine", "precision", "data_fingerprint")
    scores = report.as_json()
    return {key: scores[key] for key in kept}


def fit(network: DeepLab, dataset: Dataset, plan: Plan, run: RunFolder, *, narrator: Narrator, start: float) -> Outcome:
    """Train `network` as planned, writing into `run`.

    `start` is the time (`time.monotonic`) that `minutes` are counted from.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    return _Trainer(network, dataset, plan, run, narrator).train(start)
