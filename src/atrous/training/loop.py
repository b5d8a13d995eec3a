"""The training loop. It reads top to bottom: batch, step, and what is due."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from atrous.allocator import keep_freed_memory
from atrous.data.loader import TrainingData, TrainingImages, batches, cache_allowance, told_worker_faults
from atrous.data.samples import Dataset
from atrous.errors import (
    DataError,
    DivergedError,
    InterruptedTrainingError,
    OutputError,
    TrainingError,
)
from atrous.evaluation import Report
from atrous.losses import make_loss
from atrous.models.deeplab import DeepLab
from atrous.optim import WeightAverage, decay_for, make_optimizer, set_rate
from atrous.schedules import rate_factor
from atrous.training.course import ClockCourse, Course, StepCourse, is_due
from atrous.training.freezing import freeze, train_mode
from atrous.training.interruption import StopAskedError, StopRequest, stop_on_signals
from atrous.training.keeping import cut_of, keep_outputs, open_store
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.position import Position, take_state, use_state
from atrous.training.run_folder import RunFolder
from atrous.training.stages import Stage, stage_at
from atrous.training.steps import Stepper, choose_precision
from atrous.training.validation import Validator

__all__ = ["Outcome", "fit"]

VALIDATION_SHARE = 0.04  # of a timed run's minutes may go into validations before the last one
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

    def __init__(
        self,
        network: DeepLab,
        dataset: Dataset,
        plan: Plan,
        run: RunFolder,
        narrator: Narrator,
        state: Mapping[str, Any] | None,
    ) -> None:
        self.dataset, self.plan, self.run, self.narrator = dataset, plan, run, narrator
        self.config, self.device = plan.config, plan.device
        self.network = network.to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = WeightAverage(network, decay=decay_for(plan.expected_steps)) if self.config.average else None
        self.position = Position(validations=self.config.validations)
        self.save_seconds = 0.0
        stage = 0 if state is None else int(state["position"].get("stage", 0))
        self._enter(stage)
        if state is not None:
            self.position = use_state(state, self.stepper, self.average)
        self.validator = Validator(dataset, plan, run, narrator, first_step=self.position.step)

    def _enter(self, number: int) -> None:
        """Make ready what a stage trains with: the network at its stride, what is frozen, the loss, the optimiser."""
        stage = self.plan.stages[number]
        if stage.output_stride not in (None, self.network.backbone.output_stride):
            network = self.network.with_output_stride(stage.output_stride)
            self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        freeze(self.network, self.config.freeze, stem=self.plan.freeze_stem, until=self.config.freeze_until)
        optimizer = make_optimizer(
            self.network,
            name=self.config.optimizer,
            rate=stage.rate,
            head_factor=self.config.head_factor,
            layer_decay=self.config.layer_decay,
            momentum=self.config.momentum,
            weight_decay=self.config.weight_decay,
        )
        weights = None if self.plan.class_weights is None else torch.tensor(self.plan.class_weights, device=self.device)
        loss = make_loss(
            self.config.loss,
            ignore_index=self.dataset.labels.ignore_index,
            class_weights=weights,
            label_smoothing=self.config.label_smoothing,
            focal_gamma=self.config.focal_gamma,
            ohem_share=self.config.ohem_share,
            overlap_every=self.config.overlap_every,
        )
        self.stepper = Stepper(
            self.network,
            optimizer,
            cut=cut_of(self.config, self.network),
            loss=loss,
            precision=choose_precision(self.device),
            device=self.device,
            auxiliary_weight=0.0 if self.config.freeze == "all-but-last" else self.config.auxiliary_weight,
            clip=self.config.clip,
            parts=self.config.accumulate,
        )
        self.position.stage = number

    def train(self, start: float) -> Outcome:
        """Run to the end and return what it came to.

        Raises:
            InterruptedTrainingError: a signal asked to stop; the state is saved.
        """
        here = self.position
        with stop_on_signals() as request:
            data = self._data(request)
            course = self._course(start - here.whole_seconds)
            begin, first = time.monotonic() - here.trained_seconds, start - here.whole_seconds
            saved = time.monotonic()
            if here.due:
                self._validate(course, request)
            if here.progress >= 1 or self._is_stale():
                return self._outcome()
            self._train_mode()
            for batch in self._stream(data):
                stage = self._stage()
                factor = rate_factor(
                    self.config.schedule,
                    stage.progress(course.progress(here.step)),
                    power=self.config.power,
                    warmup=self.config.warmup if here.stage == 0 else 0.0,
                )
                set_rate(self.stepper.optimizer, factor)
                here.add(self.stepper.step(batch, number=here.step))
                if self.average is not None:
                    self.average.update(self.network)
                progress, before = course.progress(here.step), here.progress
                now = time.monotonic()
                here.progress, here.trained_seconds, here.whole_seconds = progress, now - begin, now - first
                self.narrator.status(lambda: self._status(course))
                here.due = is_due(progress, before, here.validations) or progress >= 1
                if here.due:
                    self._validate(course, request)
                    saved = self._save()
                elif now - saved > max(SAVE_SECONDS, self.save_seconds / SAVE_SHARE) or request.number is not None:
                    saved = self._save()
                self._stop_if_asked(request)
                if progress >= 1 or self._is_stale():
                    break
        return self._outcome()

    def _data(self, request: StopRequest) -> TrainingData:
        """The training images, or what the frozen part makes of them, which is made first where it is kept."""
        images = TrainingImages(
            self.dataset,
            self.dataset.splits["train"],
            augmentation=self.plan.augmentation,
            preprocessing=self.plan.preprocessing,
            seed=self.config.seed,
            cache_bytes=0 if self.plan.workers else cache_allowance(),
            rare=self.plan.rare,
            rare_crops=self.config.rare_crops,
            paste=self.config.paste,
            views=self.plan.keeping.views,
        )
        if not self.plan.keeping.keep or self.position.progress >= 1:
            return images
        self._train_mode()
        begin = time.monotonic()
        try:
            kept = keep_outputs(
                self.network,
                self.stepper.cut,
                images,
                open_store(self.config),
                frozen=self.stepper.frozen,
                note=lambda done, total: self.narrator.status(lambda: f"frozen part: {done} of {total} outputs"),
                check=request.check,
            )
        except StopAskedError:
            self._save()
            self._stop_if_asked(request)
            raise
        if kept is None:
            self.narrator.note("the cache folder has no room for the frozen part's outputs: they are computed anew")
            return images
        self.narrator.note(f"the frozen part's outputs are there after {duration(time.monotonic() - begin)}")
        return kept

    def _stream(self, data: TrainingData) -> Iterator[Any]:
        """The batches from where the run stands."""
        stop = None if self.config.epochs is None else self.config.epochs * len(data)
        start = self.position.step * self.plan.batch
        return batches(data, batch=self.plan.batch, start=start, stop=stop, workers=self.plan.workers)

    def _stage(self) -> Stage:
        """The stage of the next step, made ready if the run has just come to it."""
        number = stage_at(self.plan.stages, self.position.progress)
        if number != self.position.stage:
            self._enter(number)
            self._train_mode()
            stage = self.plan.stages[number]
            self.narrator.note(f"stage {number + 1}: output stride {stage.output_stride}, rate {stage.rate:g}")
        return self.plan.stages[number]

    def _train_mode(self) -> None:
        norms = self.plan.stages[self.position.stage].norms
        config = self.config
        train_mode(self.network, config.freeze, stem=self.plan.freeze_stem, until=config.freeze_until, norms=norms)

    def _course(self, start: float) -> Course:
        """By the clock for `minutes`, else by steps."""
        if self.config.minutes is None:
            return StepCourse(self.plan.expected_steps, done=self.position.step)
        seconds = self.config.minutes * 60
        self.validator.guess_seconds(self.network)
        if self.position.step == 0:
            affordable = int(VALIDATION_SHARE * seconds / max(self.validator.seconds, 1e-3))
            self.position.validations = max(1, min(self.position.validations, affordable + 1))
        return ClockCourse(seconds, start=start, reserve=self._reserve(), trained=self.position.trained_seconds)

    def _reserve(self) -> float:
        """Seconds kept for the last validation, saving, and the page."""
        return 1.1 * self.validator.seconds + self.plan.closing_seconds

    def _status(self, course: Course) -> str:
        here = self.position
        speed = here.step * self.plan.batch / max(here.trained_seconds, 1e-9)
        score = "val mIoU -" if here.best_miou is None else f"val mIoU {here.best_miou:.3f}"
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        left = duration(course.seconds_left(here.step))
        return f"step {here.step}  loss {here.loss:.3f}  {score}  rate {rate:.1e}  {speed:.1f} images/s  {left} left"

    def _validate(self, course: Course, request: StopRequest) -> None:
        """Validate, or, where a signal comes meanwhile, save so that the resumed run begins with it."""
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        try:
            self.validator.validate(self.position, self.network, self.average, rate=rate, check=request.check)
        except StopAskedError:
            self._save()
            self._stop_if_asked(request)
        self.position.due = False
        if isinstance(course, ClockCourse):
            course.reserve = self._reserve()

    def _is_stale(self) -> bool:
        """Whether to stop early."""
        if not self.config.patience or self.position.stale < self.config.patience:
            return False
        self.narrator.note(f"stopped early: {self.position.stale} validations without a better one")
        return True

    def _save(self) -> float:
        """Write everything that resuming needs, in one file that is replaced whole; returns the time."""
        begin = time.monotonic()
        self.run.write_state(take_state(self.position, self.stepper, self.average))
        self.save_seconds = time.monotonic() - begin
        return time.monotonic()

    def _stop_if_asked(self, request: StopRequest) -> None:
        if request.number is None:
            return
        raise InterruptedTrainingError(
            f"stopped after step {self.position.step}; everything is saved. "
            f"Go on with: atrous train --resume {self.run.path}",
            signal_number=request.number,
        )

    def _outcome(self) -> Outcome:
        return Outcome(best=self.validator.best, history=self.position.history, steps=self.position.step)


@contextmanager
def _told_how_to_go_on(run: RunFolder) -> Iterator[None]:
    """Add to an error that ends the run what is kept of it."""
    try:
        yield
    except DivergedError:
        raise  # the saved state would come to the same step
    except (TrainingError, DataError, OutputError) as error:
        if not run.has_state():
            raise
        kind = next(kind for kind in (TrainingError, DataError, OutputError) if isinstance(error, kind))
        raise kind(
            f"{error} The last saved state is kept; then go on with: atrous train --resume {run.path}"
        ) from error


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
    run then goes on from there, with the minutes that were left. One that has come to its end trains no further.

    Raises:
        InterruptedTrainingError: a signal asked to stop; the state is saved.
    """
    if plan.device.type == "cpu":
        keep_freed_memory()
    with _told_how_to_go_on(run), told_worker_faults(plan.workers):
        trainer = _Trainer(network, dataset, plan, run, narrator, state)
        if state is not None:
            narrator.note(f"going on after step {trainer.position.step}")
        return trainer.train(start)
