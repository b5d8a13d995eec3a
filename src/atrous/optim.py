"""Optimisers whose rates differ between head and backbone stages, and a running mean of the weights."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from atrous.models.deeplab import DeepLab

__all__ = ["OptimizerName", "WeightAverage", "decay_for", "make_optimizer", "set_rate", "trainable"]

OptimizerName = Literal["sgd", "adam", "adamw"]


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of `module` that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def make_optimizer(
    network: DeepLab,
    *,
    name: OptimizerName,
    rate: float,
    head_factor: float = 1.0,
    layer_decay: float = 1.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW over everything in `network` that is not frozen.

    The heads learn at `rate * head_factor`, the backbone's last stage at `rate`, each stage before it at `layer_decay`
    times the rate of the next (Clark et al. 2020, arXiv 2003.10555, section 3). Norms and biases have no weight decay,
    nor have depthwise convolutions (TensorFlow's DeepLab). Each group keeps its full rate as `full_rate` for `set_rate`.
    """
    groups = [
        group
        for modules, factor in _rates(network, head_factor, layer_decay)
        for group in _groups(modules, rate=rate * factor, weight_decay=weight_decay)
    ]
    if not groups:
        raise ValueError("nothing to train: every parameter of the network is frozen")
    if name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=momentum)
    if name == "adam":
        return torch.optim.Adam(groups, lr=rate)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=rate)
    raise ValueError(f"unknown optimizer {name!r}; expected sgd, adam or adamw")


def _rates(network: DeepLab, head_factor: float, layer_decay: float) -> Iterator[tuple[list[nn.Module], float]]:
    """Modules and the factor of their rate."""
    if layer_decay == 1:
        yield [network.backbone], 1.0
    else:
        stages = list(network.backbone.stages().values())
        for distance, modules in enumerate(reversed(stages)):
            yield modules, layer_decay**distance
    yield [head for head in (network.classifier, network.aux_classifier) if head is not None], head_factor


def _groups(modules: list[nn.Module], *, rate: float, weight_decay: float) -> Iterator[dict[str, object]]:
    parameters = [parameter for module in modules for parameter in trainable(module)]
    # A depthwise kernel is (C, 1, h, w): a few numbers per channel, like a norm.
    decayed = [p for p in parameters if p.ndim > 1 and p.shape[1] > 1]
    plain = [p for p in parameters if p.ndim <= 1 or p.shape[1] == 1]
    for members, decay in ((decayed, weight_decay), (plain, 0.0)):
        if members:
            yield {"params": members, "lr": rate, "full_rate": rate, "weight_decay": decay}


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to `factor` times its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_rate"] * factor


class WeightAverage:
    """An exponential running mean of parameters and batch norm statistics (EMA), float32.

    The decay grows with the number of steps, (1 + t) / (10 + t), up to `decay`, so that early means are not the start
    values (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.tensors: dict[str, Tensor] = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one more step's weights into the mean."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                averages.append(self.tensors[name])
                values.append(value)
            else:
                self.tensors[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


def decay_for(steps: int) -> float:
    """A decay whose memory is a tenth of a run of `steps` steps, between 0.9 and 0.9998."""
    return min(max(math.exp(-10 / max(steps, 1)), 0.9), 0.9998)
