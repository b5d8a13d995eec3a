"""What is not trained: no gradients, and eval mode for dropout and batch norm, so its output never changes."""

from typing import Literal

from torch import nn

from atrous.config import Freeze
from atrous.errors import ConfigError
from atrous.models.deeplab import DeepLab

__all__ = ["FrozenNorms", "freeze", "train_mode"]

FrozenNorms = Literal["none", "backbone", "all"]
"""Whose batch norm keeps its statistics while scale and bias train."""


def freeze(network: DeepLab, what: Freeze, *, stem: bool = False, until: str | None = None) -> None:
    """Mark what is frozen; `all-but-last` leaves the layer of logits, and no auxiliary head, to be trained.

    `stem` also freezes the backbone up to its low-level features (stride 4), and `until` the backbone's stages up to
    that one.
    """
    network.requires_grad_(False)
    for module in _trained_modules(network, what):
        module.requires_grad_(True)
    for module in _frozen_modules(network, stem, until):
        module.requires_grad_(False)


def train_mode(
    network: DeepLab, what: Freeze, *, stem: bool = False, until: str | None = None, norms: FrozenNorms = "none"
) -> None:
    """Put what is trained into train mode, and what is frozen, and the batch norms of `norms`, into eval mode."""
    network.eval()
    for module in _trained_modules(network, what):
        module.train()
    for module in _frozen_modules(network, stem, until):
        module.eval()
    kept = {"none": [], "backbone": [network.backbone], "all": [network]}[norms]
    for module in kept:
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()


def _frozen_modules(network: DeepLab, stem: bool, until: str | None) -> list[nn.Module]:
    modules = network.backbone.stem() if stem else []
    if until is None:
        return modules
    stages = network.backbone.stages()
    names = list(stages)
    if until not in names:
        raise ConfigError(
            f"--freeze-until {until}: {network.name} has no such stage; expected one of {', '.join(names)}."
        )
    return [*modules, *(module for name in names[: names.index(until) + 1] for module in stages[name])]


def _trained_modules(network: DeepLab, what: Freeze) -> list[nn.Module]:
    if what == "none":
        return [network]
    if what == "backbone":
        return [head for head in (network.classifier, network.aux_classifier) if head is not None]
    if what == "all-but-last":
        logits = getattr(network.classifier, "logits", None)
        if not isinstance(logits, nn.Module):
            raise ValueError(f"{type(network.classifier).__name__} has no layer named `logits` to leave trainable")
        return [logits]
    raise ValueError(f"unknown freeze {what!r}; expected none, backbone or all-but-last")
