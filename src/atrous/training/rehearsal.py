"""A rehearsal: a few steps are taken and timed before the run, and then everything is put back as it was."""

import math
import time
from itertools import islice

import torch

from atrous.data.loader import Batch, TrainingImages, batches, cache_allowance
from atrous.memory import peak_memory
from atrous.optim import WeightAverage, trainable
from atrous.states import rehearse_saving
from atrous.training.cut import IMAGE
from atrous.training.forecast import Forecast, Stopwatch
from atrous.training.position import take_state
from atrous.training.trainer import Trainer

__all__ = ["rehearse"]

STEPS = 4  # the first makes things ready and is not counted
OUTPUTS = 3  # of the frozen part
SMALL_FILES = 10 * 2**20  # page, pictures, log


def rehearse(trainer: Trainer, start: float) -> Forecast:
    """Take and time a few steps, and tell what the whole run will take; `start` is when it began (`time.monotonic`).

    Afterwards network, optimiser, running mean and random state are as before, bit for bit.
    """
    network = trainer.network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    cuda_random = torch.cuda.get_rng_state_all() if trainer.device.type == "cuda" else []
    steps, frozen = _take_steps(trainer)
    # With the optimiser's moments in memory, as in the run: a state's saving and a validation may be its peak.
    rehearse_saving(take_state(trainer.position, trainer.stepper, trainer.average))
    network.load_state_dict(before)
    trainer.validator.guess_seconds(network)
    if trainer.average is not None:
        trainer.average = WeightAverage(network, decay=trainer.average.decay)
    parts = trainer.stepper.parts
    trainer.enter(trainer.position.stage)
    trainer.stepper.parts = parts  # what turned out to fit into memory stays
    torch.set_rng_state(random)
    if cuda_random:
        torch.cuda.set_rng_state_all(cuda_random)
    return _forecast(trainer, steps, frozen, elapsed=time.monotonic() - start)


def _take_steps(trainer: Trainer) -> tuple[float, float]:
    """Seconds of a step, with what reading its images adds, and of one output of the frozen part where it is kept."""
    trainer.set_modes()
    images = trainer.images()
    reading, stepping, making = (Stopwatch(trainer.device) for _ in range(3))
    stream = iter(batches(images, batch=trainer.plan.batch))
    read: list[Batch] = []
    for _ in range(1 if trainer.plan.keeping.keep else STEPS):
        reading.time(lambda: read.append(next(stream)))
    if trainer.plan.keeping.keep:
        for image in islice(read[0].image.split(1), OUTPUTS):
            making.time(lambda image=image: trainer.stepper.frozen(image))
        read = [_behind_the_cut(trainer, read[0])] * STEPS
    for batch in read:
        stepping.time(lambda batch=batch: trainer.step(batch))
    workers = trainer.plan.workers
    if trainer.plan.keeping.keep:
        return stepping.mean, making.mean
    return (max(stepping.mean, reading.mean / workers) if workers else stepping.mean + reading.mean), 0.0


def _behind_the_cut(trainer: Trainer, batch: Batch) -> Batch:
    """The batch as the trained part gets it from the store."""
    outputs = [trainer.stepper.frozen(image) for image in batch.image.split(1)]
    inputs = {name: torch.cat([output[name].cpu() for output in outputs]) for name in outputs[0]}
    assert IMAGE not in inputs
    layout = torch.channels_last
    return Batch({k: v.contiguous(memory_format=layout) for k, v in inputs.items()}, batch.mask, batch.names)


def _forecast(trainer: Trainer, step: float, output: float, *, elapsed: float) -> Forecast:
    plan, config, validator = trainer.plan, trainer.config, trainer.validator
    images = len(trainer.dataset.splits["train"])
    frozen = output * images * (plan.keeping.views or 1) if plan.keeping.keep else 0.0
    validations = trainer.affordable_validations()
    around = elapsed + frozen + validations * validator.seconds + validator.closing_seconds
    if config.test_at_end:
        around += validator.image_seconds * len(trainer.dataset.splits.get("test") or validator.samples)
    if config.minutes is None:
        steps = plan.expected_steps
        validations = min(validations, steps)
        seconds = around + steps * step
    else:
        seconds = config.minutes * 60
        steps = max(1, math.floor((seconds - around) / step))
    memory = peak_memory(trainer.device)
    growth = _decoded_bytes(trainer.images()) if trainer.device.type == "cpu" and not plan.keeping.keep else 0
    return Forecast(
        model=plan.model,
        crop=plan.augmentation.crop_size,
        output_stride=trainer.network.backbone.output_stride,
        batch=plan.batch,
        parts=trainer.stepper.parts,
        epochs=steps * plan.batch / images,
        views=plan.keeping.views,
        steps=steps,
        step_seconds=step,
        frozen_seconds=frozen,
        validation_seconds=validator.seconds,
        validations=validations,
        seconds=seconds,
        memory=None if memory is None else memory + growth,
        disk=_disk_bytes(trainer),
    )


def _decoded_bytes(images: TrainingImages) -> int:
    """What decoded images will take in this process's memory, where they are kept there."""
    if not images.cache_bytes:
        return 0
    image, mask = images.read(0)
    return min(cache_allowance(), (image.nbytes + mask.nbytes) * len(images))


def _disk_bytes(trainer: Trainer) -> int:
    """The model, three states (one while it is written), and what is kept of the frozen part."""
    network = sum(value.numel() * value.element_size() for value in trainer.network.state_dict().values())
    moved = sum(value.numel() * value.element_size() for value in trainable(trainer.network))
    moments = moved * (1 if trainer.config.optimizer == "sgd" else 2)
    state = network * (1 if trainer.average is None else 2) + moments
    return network + 3 * state + SMALL_FILES + trainer.plan.keeping.bytes
