"""The training loop. It reads top to bottom: batch, step, and what is due."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from atrous.allocator import keep_freed_memory
from atrous.checkpoint import save_model
from atrous.data.loader import TrainingImages, batches, cache_allowance
from atrous.data.samples import Dataset
from atrous.errors import ConfigError, InterruptedTrainingError
from atrous.evaluation import Report, evaluate_samples
from atrous.files import make_folder
from atrous.models.deeplab import DeepLab
from atrous.optim import WeightAverage, decay_for, make_optimizer, poly, set_rate
from atrous.prediction import Model
from atrous.states import save_state
from atrous.training.balance import take_back_tilt
from atrous.training.course import ClockCourse, Course, StepCourse, is_due
from atrous.training.freezing import freeze, train_mode
from atrous.training.interruption import StopRequest, stop_on_signals
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.position import Position, take_state, use_state
from atrous.training.run_folder import RunFolder
from atrous.training.steps import Stepper, choose_precision

__all__ = ["Outcome", "fit"]

VALIDATION_SHARE = 0.04  # of a timed run's minutes may go into validations before the last one
SMOOTHING = 0.95
SAVE_SECONDS = 60.0
SAVE_SHARE = 0.05  # of the time may go into saving the state


@dataclass
class Outcome:
    """What a run came to: the best validation, the rows of `history.csv`, and the number of steps.

    `best` is None where there is no val split, or where the best was found before the run was resumed.
    """

    best: Report | None = None
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0


class _Trainer:
    """The state of one run."""

    def __init__(self, network: DeepLab, dataset: Dataset, plan: Plan, run: RunFolder, narrator: Narrator) -> None:
        self.network, self.dataset, self.plan, self.run, self.narrator = network, dataset, plan, run, narrator
        self.config = plan.config
        self.device = plan.device
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
        self.position = Position(validations=self.config.validations)
        self.best: Report | None = None
        self.validation_seconds = 0.0
        self.save_seconds = 0.0

    def train(self, start: float) -> Outcome:
        """Run to the end and return what it came to.

        Raises:
            InterruptedTrainingError: a signal asked to stop; the state is saved.
        """
        images = TrainingImages(
            self.dataset,
            self.dataset.splits["train"],
            augmentation=self.plan.augmentation,
            preprocessing=self.plan.preprocessing,
            seed=self.config.seed,
            cache_bytes=0 if self.plan.workers else cache_allowance(),
        )
        here = self.position
        course = self._course(start - here.whole_seconds)
        stop = None if self.config.epochs is None else self.config.epochs * len(images)
        stream = batches(
            images, batch=self.plan.batch, start=here.step * self.plan.batch, stop=stop, workers=self.plan.workers
        )
        begin, first = time.monotonic() - here.trained_seconds, start - here.whole_seconds
        saved = time.monotonic()
        train_mode(self.network, self.config.freeze, stem=self.plan.freeze_stem)
        with stop_on_signals() as request:
            for batch in stream:
                factor = poly(course.progress(here.step), power=self.config.power, warmup=self.config.warmup)
                set_rate(self.optimizer, factor)
                here.add(self.stepper.step(batch, number=here.step), smoothing=SMOOTHING)
                if self.average is not None:
                    self.average.update(self.network)
                progress, before = course.progress(here.step), here.progress
                now = time.monotonic()
                here.progress, here.trained_seconds, here.whole_seconds = progress, now - begin, now - first
                self.narrator.status(lambda: self._status(course))
                if is_due(progress, before, here.validations) or progress >= 1:
                    self._validate()
                    if isinstance(course, ClockCourse):
                        course.reserve = self._reserve()
                    saved = self._save()
                elif now - saved > max(SAVE_SECONDS, self.save_seconds / SAVE_SHARE) or request.number is not None:
                    saved = self._save()
                self._stop_if_asked(request)
                if progress >= 1 or self._is_stale():
                    break
        return Outcome(best=self.best, history=here.history, steps=here.step)

    def _course(self, start: float) -> Course:
        """By the clock for `minutes`, else by steps."""
        if self.config.minutes is None:
            return StepCourse(self.plan.expected_steps, done=self.position.step)
        seconds = self.config.minutes * 60
        self._measure_validation()
        if self.position.step == 0:
            affordable = int(VALIDATION_SHARE * seconds / max(self.validation_seconds, 1e-3))
            self.position.validations = max(1, min(self.position.validations, affordable + 1))
        return ClockCourse(seconds, start=start, reserve=self._reserve(), trained=self.position.trained_seconds)

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

    def _status(self, course: Course) -> str:
        here = self.position
        speed = here.step * self.plan.batch / max(here.trained_seconds, 1e-9)
        score = "val mIoU -" if here.best_miou is None else f"val mIoU {here.best_miou:.3f}"
        rate = self.optimizer.param_groups[0]["lr"]
        left = duration(course.seconds_left(here.step))
        return f"step {here.step}  loss {here.loss:.3f}  {score}  rate {rate:.1e}  {speed:.1f} images/s  {left} left"

    def _model(self) -> Model:
        """The network as it would be saved now: the running mean where there is one, without the class weights' tilt."""
        network = copy.deepcopy(self.network)
        if self.average is not None:
            network.load_state_dict(self.average.tensors)
        if self.plan.class_weights is not None:
            take_back_tilt(network, self.plan.class_weights, share=self.config.untilt)
        return Model(
            network, labels=self.dataset.labels, preprocessing=self.plan.preprocessing, device=str(self.device)
        )

    def _validate(self) -> None:
        """Measure, keep the best, add a row to the history."""
        here, model = self.position, self._model()
        samples = self.dataset.splits.get("val", ())
        begin = time.monotonic()
        report = evaluate_samples(model, self.dataset, samples, split="val") if samples else None
        self.validation_seconds = time.monotonic() - begin
        row = self._row(report)
        better = here.judge(row, miou=None if report is None else report.miou or 0.0)
        if better:
            self.best = report
            save_model(
                self.run.model,
                model.network,
                labels=self.dataset.labels,
                preprocessing=self.plan.preprocessing,
                scores=None if report is None else _stored_scores(report),
            )
        self.run.write_history(here.history)
        self.narrator.note(_line(row, better))

    def _row(self, report: Report | None) -> dict[str, Any]:
        here = self.position
        images = here.step * self.plan.batch
        return {
            "step": here.step,
            "epoch": round(images / len(self.dataset.splits["train"]), 3),
            "progress": round(here.progress, 4),
            "loss": round(here.loss, 6),
            "val_loss": None if report is None or report.loss is None else round(report.loss, 6),
            "val_miou": None if report is None or report.miou is None else round(report.miou, 6),
            "rate": self.optimizer.param_groups[0]["lr"],
            "images_per_second": round(images / max(here.trained_seconds, 1e-9), 3),
            "seconds": round(here.trained_seconds, 1),
        }

    def _is_stale(self) -> bool:
        """Whether to stop early."""
        if not self.config.patience or self.position.stale < self.config.patience:
            return False
        self.narrator.note(f"stopped early: {self.position.stale} validations without a better one")
        return True

    def _save(self) -> float:
        """Write everything that resuming needs, in one file that is replaced whole; returns the time."""
        begin = time.monotonic()
        make_folder(self.run.last)
        save_state(self.run.state, take_state(self.position, self.stepper, self.average))
        self.save_seconds = time.monotonic() - begin
        train_mode(self.network, self.config.freeze, stem=self.plan.freeze_stem)
        return time.monotonic()

    def _stop_if_asked(self, request: StopRequest) -> None:
        if request.number is None:
            return
        raise InterruptedTrainingError(
            f"stopped after step {self.position.step}; everything is saved. "
            f"Go on with: atrous train --resume {self.run.path}",
            signal_number=request.number,
        )


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


def fit(
    network: DeepLab,
    dataset: Dataset,
    plan: Plan,
    run: RunFolder,
    *,
    narrator: Narrator,
    start: float,
    state: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train `network` as planned, writing into `run`.

    `start` is the time (`time.monotonic`) that `minutes` are counted from. `state` is what an earlier process saved: the
    run then goes on from there, with the minutes that were left.

    Raises:
        InterruptedTrainingError: a signal asked to stop; the state is saved.
        ConfigError: the state is of a run that has come to its end.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    trainer = _Trainer(network, dataset, plan, run, narrator)
    if state is not None:
        trainer.position = use_state(state, trainer.stepper, trainer.average)
        if trainer.position.progress >= 1:
            raise ConfigError(
                f"{run.path}: this run has come to its end (step {trainer.position.step}). Train on from its model with "
                f"--weights {run.model}, or start another run."
            )
        narrator.note(f"going on after step {trainer.position.step}")
    return trainer.train(start)
