"""One training step."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from atrous.data.loader import Batch
from atrous.errors import TrainingError
from atrous.losses import resized_cross_entropy
from atrous.models.deeplab import DeepLab
from atrous.optim import trainable

__all__ = ["Precision", "Stepper", "choose_precision"]


@dataclass(frozen=True)
class Precision:
    """How a step computes: `autocast` type or None for float32, and whether gradients need scaling (float16)."""

    name: str
    autocast: torch.dtype | None
    scaled: bool


def choose_precision(device: torch.device) -> Precision:
    """bfloat16 on GPUs that have it, float16 with a gradient scaler on older ones, float32 elsewhere."""
    if device.type != "cuda":
        return Precision("float32", None, scaled=False)
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision("bfloat16", torch.bfloat16, scaled=False)
    return Precision("float16", torch.float16, scaled=True)


class Stepper:
    """Computes the loss of a batch, its gradients, and moves the weights."""

    def __init__(
        self,
        network: DeepLab,
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
        device: torch.device,
        ignore_index: int,
        class_weights: Tensor | None = None,
        auxiliary_weight: float = 0.0,
        clip: float = 0.0,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.precision = precision
        self.device = device
        self.ignore_index = ignore_index
        self.class_weights = class_weights
        self.auxiliary_weight = auxiliary_weight
        self.clip = clip
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)

    def step(self, batch: Batch, *, number: int) -> float:
        """Take one step and return the loss of the batch.

        Raises:
            TrainingError: the loss is not finite; names the step and the images.
        """
        batch = batch.to(self.device)
        with self._autocast():
            loss = self._loss(batch)
        value = loss.detach()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(trainable(self.network), self.clip)
        result = float(value)
        if result != result or result in (float("inf"), float("-inf")):
            raise TrainingError(
                f"the loss became {result} at step {number} (images: {', '.join(batch.names[:4])}"
                f"{', ...' if len(batch.names) > 4 else ''}); a finite number was expected. Weights were not changed by "
                "this step. Lower the rate (--set rate=...), clip gradients (--set clip=1), or look at these images."
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return result

    def _loss(self, batch: Batch) -> Tensor:
        features = self.network.features(batch.image)
        loss = self._at_full_size(self.network.classifier(features), batch)
        if self.auxiliary_weight and self.network.aux_classifier is not None:
            auxiliary = self._at_full_size(self.network.aux_classifier(features), batch)
            loss = loss + self.auxiliary_weight * auxiliary
        return loss

    def _at_full_size(self, coarse: Tensor, batch: Batch) -> Tensor:
        """The loss at the masks' own resolution (v3 paper, section 4.1: shrinking the masks instead costs 1.2 points)."""
        return resized_cross_entropy(
            coarse, batch.mask, ignore_index=self.ignore_index, class_weights=self.class_weights
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.precision.autocast)
