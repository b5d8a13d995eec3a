"""One training step: the loss of its images, computed in one part or several, its gradient, and the move."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from atrous.data.loader import Batch
from atrous.errors import DivergedError, TrainingError
from atrous.losses import Loss
from atrous.models.deeplab import DeepLab
from atrous.optim import trainable
from atrous.training.cut import IMAGE, Cut

__all__ = ["Precision", "StepStats", "Stepper", "choose_precision"]


@dataclass(frozen=True)
class Precision:
    """How a step computes: `autocast` type or None for float32, and whether gradients need scaling (float16)."""

    name: str
    autocast: torch.dtype | None
    scaled: bool


@dataclass(frozen=True)
class StepStats:
    """The loss of a step's images, and the norm of its gradient before clipping."""

    loss: float
    gradient_norm: float


def choose_precision(device: torch.device) -> Precision:
    """bfloat16 on GPUs that have it, float16 with a gradient scaler on older ones, float32 elsewhere."""
    if device.type != "cuda":
        return Precision("float32", None, scaled=False)
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision("bfloat16", torch.bfloat16, scaled=False)
    return Precision("float16", torch.float16, scaled=True)


class Stepper:
    """Computes the loss of a batch, its gradients, and moves the weights.

    With `parts` above 1 the batch is computed in so many parts, one after the other. The loss is the mean over all valid
    pixels of the batch, not the mean of the parts' means; only batch norm's statistics are those of each part.
    """

    def __init__(
        self,
        network: DeepLab,
        optimizer: torch.optim.Optimizer,
        *,
        cut: Cut,
        loss: Loss,
        precision: Precision,
        device: torch.device,
        auxiliary_weight: float = 0.0,
        clip: float = 0.0,
        parts: int = 1,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.cut = cut
        self.loss = loss
        self.precision = precision
        self.device = device
        self.auxiliary_weight = auxiliary_weight
        self.clip = clip
        self.parts = parts
        self.say = say
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)

    def step(self, batch: Batch, *, number: int) -> StepStats:
        """Take one step. Where memory runs out it is taken again in twice as many parts, and so are all that follow.

        Raises:
            DivergedError: the loss or its gradient is not finite; names the step and the images. The weights are as
                they were before the step.
            TrainingError: memory runs out with one image at a time.
        """
        while True:
            try:
                return self._step(batch, number=number)
            except RuntimeError as error:
                if not _is_about_memory(error):
                    raise
                self._need_less_memory(len(batch.mask), number, error)

    def _need_less_memory(self, images: int, number: int, error: RuntimeError) -> None:
        """Compute with more parts from now on."""
        reason = str(error).splitlines()[0][:200]
        if self.parts >= images:
            raise TrainingError(
                f"memory ran out at step {number} with one image at a time ({reason}); expected room for one. Take smaller "
                "crops (--crop), a lighter --model, or a larger --output-stride."
            ) from error
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.parts = min(2 * self.parts, images)
        self.say(
            f"memory ran out at step {number}: a step's {images} images are computed in {self.parts} parts from now on. "
            f"The gradient stays that of all of them (--set accumulate={self.parts} begins so)"
        )

    def _step(self, batch: Batch, *, number: int) -> StepStats:
        self.optimizer.zero_grad(set_to_none=True)
        value = torch.zeros((), device=self.device)
        parts = [part.to(self.device) for part in batch.parts(self.parts)]
        weights = self.loss.weights([part.mask for part in parts])
        for part in parts:
            with self._autocast():
                share = self._share(part, weights)
            self.scaler.scale(share).backward()
            value += share.detach()
        self.scaler.unscale_(self.optimizer)
        parameters = trainable(self.network)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        stats = StepStats(float(value), float(norm))
        self._check(stats, batch, number)
        if self.clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return stats

    def frozen(self, image: Tensor) -> dict[str, Tensor]:
        """What the frozen part makes of images (N, bands, H, W), as a step computes it."""
        with self._autocast():
            return self.cut.frozen(self.network, image.to(self.device))

    def _share(self, part: Batch, weights: tuple[Tensor, ...]) -> Tensor:
        """What a part adds to the loss, at the masks' own resolution.

        Shrinking the masks instead costs 1.2 points (v3 paper, section 4.1).
        """
        kept = self.frozen(part.image) if IMAGE in part.inputs else part.inputs
        logits, auxiliary = self.cut.trained(self.network, kept)
        share = self.loss.share(logits, part.mask, weights)
        if auxiliary is not None:
            share = share + self.auxiliary_weight * self.loss.share(auxiliary, part.mask, weights)
        return share

    def _check(self, stats: StepStats, batch: Batch, number: int) -> None:
        """Raise where a number is not finite; a scaled gradient may overflow, for then the scaler skips the step."""
        if math.isfinite(stats.loss) and (math.isfinite(stats.gradient_norm) or self.precision.scaled):
            return
        what = "gradient's norm" if math.isfinite(stats.loss) else "loss"
        found = stats.gradient_norm if math.isfinite(stats.loss) else stats.loss
        raise DivergedError(
            f"the {what} became {found} at step {number} (images: {', '.join(batch.names[:4])}"
            f"{', ...' if len(batch.names) > 4 else ''}); a finite number was expected. Weights were not changed by "
            "this step. Lower the rate (--set rate=...), clip gradients (--set clip=1), or look at these images."
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.autocast)


def _is_about_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed; PyTorch has a class for it on GPUs, and words on CPUs."""
    words = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error).lower() for word in words)
