"""The state of one run, and what is done with it between the loop's steps."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from atrous.data.loader import Batch, TrainingData, TrainingImages, batches, cache_allowance
from atrous.data.samples import Dataset
from atrous.errors import InterruptedTrainingError
from atrous.losses import make_loss
from atrous.models.deeplab import DeepLab
from atrous.optim import WeightAverage, decay_for, make_optimizer
from atrous.training.freezing import freeze, train_mode
from atrous.training.interruption import StopAskedError, StopRequest
from atrous.training.keeping import cut_of, keep_outputs, open_store
from atrous.training.narrator import Narrator, duration
from atrous.training.plan import Plan
from atrous.training.position import Position, take_state, use_state
from atrous.training.run_folder import RunFolder
from atrous.training.stages import Stage, stage_at
from atrous.training.steps import Stepper, StepStats, choose_precision
from atrous.training.validation import Validator

__all__ = ["Trainer"]

VALIDATION_SHARE = 0.04  # of a timed run's minutes may go into validations before the last one


class Trainer:
    """The state of one run: network, running mean, stepper (with the optimiser) and position; and its validator.

    `state` is what an earlier process saved, None for a new run.
    """

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
        """What the last saving took."""
        stage = 0 if state is None else int(state["position"].get("stage", 0))
        self.enter(stage)
        if state is not None:
            self.position = use_state(state, self.stepper, self.average)
        self.validator = Validator(dataset, plan, run, narrator, first_step=self.position.step)

    def enter(self, number: int) -> None:
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
            say=self.narrator.note,
        )
        self.position.stage = number

    def step(self, batch: Batch) -> StepStats:
        """Move the weights, and their running mean."""
        stats = self.stepper.step(batch, number=self.position.step)
        if self.average is not None:
            self.average.update(self.network)
        return stats

    def images(self) -> TrainingImages:
        """Views of the training images."""
        return TrainingImages(
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

    def data(self, request: StopRequest) -> TrainingData:
        """The training images, or what the frozen part makes of them, which is made first where it is kept."""
        images = self.images()
        if not self.plan.keeping.keep or self.position.progress >= 1:
            return images
        self.set_modes()
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
            self.save()
            self.stop_if_asked(request)
            raise
        if kept is None:
            self.narrator.note("the cache folder has no room for the frozen part's outputs: they are computed anew")
            return images
        self.narrator.note(f"the frozen part's outputs are there after {duration(time.monotonic() - begin)}")
        return kept

    def stream(self, data: TrainingData) -> Iterator[Batch]:
        """The batches from where the run stands."""
        stop = None if self.config.epochs is None else self.config.epochs * len(data)
        start = self.position.step * self.plan.batch
        return batches(data, batch=self.plan.batch, start=start, stop=stop, workers=self.plan.workers)

    def stage(self) -> Stage:
        """The stage of the next step, made ready if the run has just come to it."""
        number = stage_at(self.plan.stages, self.position.progress)
        if number != self.position.stage:
            self.enter(number)
            self.set_modes()
            stage = self.plan.stages[number]
            self.narrator.note(f"stage {number + 1}: output stride {stage.output_stride}, rate {stage.rate:g}")
        return self.plan.stages[number]

    def set_modes(self) -> None:
        """Put what is trained into train mode, and what is frozen into eval mode."""
        norms = self.plan.stages[self.position.stage].norms
        config = self.config
        train_mode(self.network, config.freeze, stem=self.plan.freeze_stem, until=config.freeze_until, norms=norms)

    def validate(self, request: StopRequest) -> None:
        """Validate, or, where a signal comes meanwhile, save so that the resumed run begins with it."""
        rate = self.stepper.optimizer.param_groups[0]["lr"]
        try:
            self.validator.validate(self.position, self.network, self.average, rate=rate, check=request.check)
        except StopAskedError:
            self.save()
            self.stop_if_asked(request)
        self.position.due = False

    def is_stale(self) -> bool:
        """Whether to stop early."""
        if not self.config.patience or self.position.stale < self.config.patience:
            return False
        self.narrator.note(f"stopped early: {self.position.stale} validations without a better one")
        return True

    def reserve(self) -> float:
        """Seconds that a timed run keeps for the last validation, saving, and the page."""
        return 1.1 * self.validator.seconds + self.validator.closing_seconds

    def affordable_validations(self) -> int:
        """How often a timed run may validate, once the time of a validation is known."""
        minutes = self.config.minutes
        if minutes is None:
            return self.config.validations
        affordable = int(VALIDATION_SHARE * minutes * 60 / max(self.validator.seconds, 1e-3))
        return max(1, min(self.config.validations, affordable + 1))

    def save(self) -> float:
        """Write everything that resuming needs, in one file that is replaced whole; returns the time."""
        begin = time.monotonic()
        self.run.write_state(take_state(self.position, self.stepper, self.average))
        self.save_seconds = time.monotonic() - begin
        return time.monotonic()

    def stop_if_asked(self, request: StopRequest) -> None:
        """Raise InterruptedTrainingError if a signal has come; the state is saved by now."""
        if request.number is None:
            return
        raise InterruptedTrainingError(
            f"stopped after step {self.position.step}; everything is saved. "
            f"Go on with: atrous train --resume {self.run.path}",
            signal_number=request.number,
        )
