"""Where a run stands, and everything that must come back for it to go on as if nothing had happened."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from atrous.errors import WeightsError
from atrous.optim import WeightAverage
from atrous.training.steps import Stepper, StepStats

__all__ = ["Position", "take_state", "use_state"]

FORMAT_VERSION = 1
SMOOTHING = 0.95


@dataclass
class Position:
    """Where a run stands: numbers only.

    `step` steps are done, the last in stage number `stage`; `loss` is their smoothed loss and `gradient_norm` the
    smoothed norm of their gradients. `due` says that the validation after the last step has still to be made.
    `trained_seconds` is the time since the first step and `whole_seconds` since the start. `best_miou` is that of the
    model file, `stale` counts validations since.
    """

    validations: int
    step: int = 0
    stage: int = 0
    loss: float = 0.0
    gradient_norm: float = 0.0
    due: bool = False
    progress: float = 0.0
    trained_seconds: float = 0.0
    whole_seconds: float = 0.0
    best_miou: float | None = None
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, stats: StepStats) -> None:
        """Count one more step."""
        keep = SMOOTHING if self.step else 0.0
        self.loss = keep * self.loss + (1 - keep) * stats.loss
        if math.isfinite(stats.gradient_norm):  # a scaled gradient may overflow; then its step is left out
            self.gradient_norm = keep * self.gradient_norm + (1 - keep) * stats.gradient_norm
        self.step += 1

    def judge(self, row: dict[str, Any], *, miou: float | None) -> bool:
        """Add a validation to the history and tell whether its model is the best so far.

        Without a val split (`miou` None) the newest model is the best.
        """
        self.history.append(row)
        better = miou is None or self.best_miou is None or miou > self.best_miou
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best_miou = miou
        return better


def take_state(position: Position, stepper: Stepper, average: WeightAverage | None) -> dict[str, Any]:
    """Everything that resuming needs. The order of images and their views need no state: they follow from the step."""
    return {
        "format_version": FORMAT_VERSION,
        "position": asdict(position),
        "network": dict(stepper.network.state_dict()),
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "average": None
        if average is None
        else {"steps": average.steps, "decay": average.decay, "tensors": average.tensors},
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if stepper.device.type == "cuda" else [],
    }


def _lay_out_alike(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimiser's tensors the memory order of their parameters again, which the file does not keep.

    Equal numbers in another order may be rounded otherwise by another kernel; then a resumed run would not be exact.
    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def use_state(state: Mapping[str, Any], stepper: Stepper, average: WeightAverage | None) -> Position:
    """Put a saved state into place and return the position.

    Raises:
        WeightsError: a state of another network, optimiser or version.
    """
    try:
        if state["format_version"] != FORMAT_VERSION:
            raise WeightsError(
                f"the saved state has format version {state['format_version']}; expected {FORMAT_VERSION}. "
                "Resume with the atrous version that wrote it."
            )
        stepper.network.load_state_dict(state["network"])
        stepper.optimizer.load_state_dict(state["optimizer"])
        _lay_out_alike(stepper.optimizer)
        if stepper.precision.scaled:
            stepper.scaler.load_state_dict(state["scaler"])
        if average is not None:
            saved = state["average"]
            average.steps, average.decay = saved["steps"], saved["decay"]
            for name, tensor in average.tensors.items():
                tensor.copy_(saved["tensors"][name])
        torch.set_rng_state(state["random"])
        if stepper.device.type == "cuda" and state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        return Position(**state["position"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"the saved state does not fit this run ({type(error).__name__}: {str(error).splitlines()[0]}); expected "
            "that of the same network and settings. Resume the run with the configuration that it was started with."
        ) from error
