"""The kinds of normalisation that a network can be built with: batch, group, or batch norm with frozen statistics."""

import math
from functools import cache
from typing import Literal

from torch import nn

from atrous.models.layers import BatchNorm2d

__all__ = ["NORMS", "FrozenBatchNorm2d", "Norm", "group_size", "set_norm"]

Norm = Literal["batch", "group", "group-head", "frozen"]
NORMS = ("batch", "group", "group-head", "frozen")

# Group norm, arXiv 1803.08494, table 3: 16 channels a group are as good as 32 groups (24.2 and 24.1 % error), and unlike
# the number of groups they suit the narrow layers of small networks.
GROUP_CHANNELS = 16
PLAIN = (nn.BatchNorm2d, BatchNorm2d)


class FrozenBatchNorm2d(BatchNorm2d):
    """Batch norm that uses its running statistics in train mode too and never updates them; scale and bias do train.

    Its state-dict keys are batch norm's.
    """

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":
        """Stay in eval mode, whatever `mode` is."""
        super().train(False)
        return self


def group_size(channels: int) -> int:
    """How many of `channels` share one mean and variance: the divisor that is nearest to 16, as a ratio.

    16 for 64, 256 or 2048 channels, 14 for 728, 12 for 24.
    """
    divisors = [size for size in range(1, min(channels, GROUP_CHANNELS**2) + 1) if channels % size == 0]
    return min(divisors, key=lambda size: abs(math.log(size / GROUP_CHANNELS)))


def set_norm(module: nn.Module, norm: Literal["batch", "group", "frozen"]) -> None:
    """Put `norm` in place of every batch norm below `module`, with new weights; "batch" changes nothing.

    A subclass of batch norm (timm has one with an activation inside) can be frozen, not turned into group norm.

    Raises:
        ValueError: a subclass that would have to become group norm.
    """
    if norm == "batch":
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, _frozen(child) if norm == "frozen" else _grouped(child))


def _frozen(layer: nn.BatchNorm2d) -> nn.Module:
    # The same layer with the same tensors: only its class differs.
    layer.__class__ = FrozenBatchNorm2d if type(layer) in PLAIN else _frozen_class(type(layer))
    return layer.train()


@cache
def _frozen_class(base: type[nn.BatchNorm2d]) -> type[nn.BatchNorm2d]:
    return type(f"Frozen{base.__name__}", (base,), {"train": lambda self, mode=True: base.train(self, False)})


def _grouped(layer: nn.BatchNorm2d) -> nn.Module:
    if type(layer) not in PLAIN:
        raise ValueError(f"{type(layer).__name__} cannot become group norm: it does more than to normalise")
    return nn.GroupNorm(layer.num_features // group_size(layer.num_features), layer.num_features, eps=layer.eps)
