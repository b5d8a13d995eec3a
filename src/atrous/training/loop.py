"""The training loop. It reads top to bottom: batch, step, and what is due."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atrous.allocator import keep_freed_memory
from atrous.data.loader import told_worker_faults
from atrous.data.samples import Dataset
from atrous.errors import DataError, DivergedError, OutputError, TrainingError
from atrous.evaluation import Report
from atrous.models.deeplab import DeepLab
from atrous.optim import set_rate
from atrous.schedules import rate_factor
from atrous.training.course import ClockCourse, Course, StepCourse, is_due
from atrous.training.forecast import Forecast, show_forecast
from atrous.training.interruption import stop_on_signals
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.rehearsal import rehearse
from atrous.training.run_folder import RunFolder
from atrous.training.trainer import Trainer

__all__ = ["Outcome", "fit", "forecast"]

SAVE_SECONDS = 60.0
SAVE_SHARE = 0.05  # of the time may go into saving the state
WORTH_MEASURING = 30  # steps; a shorter run is over before its forecast is of use


@dataclass
class Outcome:
    """What a run came to: the best validation, the rows of `history.csv`, and the number of steps.

    `best` is None where there is no val split, or where the best was found before the run was resumed.
    """

    best: Report | None = None
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0


def run_loop(trainer: Trainer, start: float) -> Outcome:
    """Run to the end and return what it came to.

    Raises:
        InterruptedTrainingError: a signal asked to stop; the state is saved.
    """
    here, config = trainer.position, trainer.config
    with stop_on_signals() as request:
        data = trainer.data(request)
        course = _course(trainer, start - here.whole_seconds)
        begin, first = time.monotonic() - here.trained_seconds, start - here.whole_seconds
        saved = time.monotonic()
        if here.due:
            trainer.validate(request)
        if here.progress >= 1 or trainer.is_stale():
            return _outcome(trainer)
        trainer.set_modes()
        for batch in trainer.stream(data):
            stage = trainer.stage()
            factor = rate_factor(
                config.schedule,
                stage.progress(course.progress(here.step)),
                power=config.power,
                warmup=config.warmup if here.stage == 0 else 0.0,
            )
            set_rate(trainer.stepper.optimizer, factor)
            here.add(trainer.step(batch))
            progress, before = course.progress(here.step), here.progress
            now = time.monotonic()
            here.progress, here.trained_seconds, here.whole_seconds = progress, now - begin, now - first
            trainer.narrator.status(lambda: _status(trainer, course))
            here.due = is_due(progress, before, here.validations) or progress >= 1
            if here.due:
                trainer.validate(request)
                course.keep_back(trainer.reserve())
                saved = trainer.save()
            elif now - saved > max(SAVE_SECONDS, trainer.save_seconds / SAVE_SHARE) or request.number is not None:
                saved = trainer.save()
            trainer.stop_if_asked(request)
            if progress >= 1 or trainer.is_stale():
                break
    return _outcome(trainer)


def _course(trainer: Trainer, start: float) -> Course:
    """By the clock for `minutes`, else by steps."""
    minutes = trainer.config.minutes
    if minutes is None:
        return StepCourse(trainer.plan.expected_steps, done=trainer.position.step)
    trainer.validator.guess_seconds(trainer.network)
    if trainer.position.step == 0:
        trainer.position.validations = trainer.affordable_validations()
    trained = trainer.position.trained_seconds
    return ClockCourse(minutes * 60, start=start, reserve=trainer.reserve(), trained=trained)


def _status(trainer: Trainer, course: Course) -> str:
    here = trainer.position
    speed = here.step * trainer.plan.batch / max(here.trained_seconds, 1e-9)
    score = "val mIoU -" if here.best_miou is None else f"val mIoU {here.best_miou:.3f}"
    rate = trainer.stepper.optimizer.param_groups[0]["lr"]
    left = duration(course.seconds_left(here.step))
    return f"step {here.step}  loss {here.loss:.3f}  {score}  rate {rate:.1e}  {speed:.1f} images/s  {left} left"


def _outcome(trainer: Trainer) -> Outcome:
    here = trainer.position
    return Outcome(best=trainer.validator.best, history=here.history, steps=here.step)


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
        trainer = Trainer(network, dataset, plan, run, narrator, state)
        if state is not None:
            narrator.note(f"going on after step {trainer.position.step}")
        elif plan.expected_steps >= WORTH_MEASURING:
            told = rehearse(trainer, start)
            run.write_plan(told.as_json())
            for line in show_forecast(told):
                narrator.note(line)
        return run_loop(trainer, start)


def forecast(network: DeepLab, dataset: Dataset, plan: Plan, *, narrator: Narrator, start: float) -> Forecast:
    """Measure a few steps of the planned run, of which nothing stays, and tell what the run would take."""
    if plan.device.type == "cpu":
        keep_freed_memory()
    with told_worker_faults(plan.workers):
        return rehearse(Trainer(network, dataset, plan, RunFolder(Path()), narrator, None), start)
