"""Renaming tensors: rules of patterns, and what the names tell of the backbone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from atrous.errors import WeightsError

__all__ = ["Renamed", "Rule", "check_bands", "rename", "resnet_name", "rotate_inputs"]

Rule = tuple[str, str | None]
"""A pattern for a whole name, and its replacement (with \\1, \\2, ...); None drops the tensor."""


class Renamed(NamedTuple):
    """Tensors under new names, the names that no rule covered, and the names that a rule dropped."""

    tensors: dict[str, Tensor]
    unknown: list[str]
    dropped: list[str]


def rename(tensors: Mapping[str, Tensor], rules: Sequence[Rule]) -> Renamed:
    """Give every tensor the new name of the first rule whose pattern is its whole name."""
    compiled = [(re.compile(pattern), new) for pattern, new in rules]
    result = Renamed({}, [], [])
    for name, tensor in tensors.items():
        for pattern, new in compiled:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            if new is None:
                result.dropped.append(name)
            else:
                result.tensors[match.expand(new)] = tensor
            break
        else:
            result.unknown.append(name)
    return result


def resnet_name(names: Iterable[str], prefix: str, *, program: str) -> str:
    """Which ResNet has tensors of these names below `prefix`.

    Raises:
        WeightsError: another depth.
    """
    plain = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    depths = tuple(
        len({name.split(".")[1] for name in plain if name.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4)
    )
    kind = "bottleneck" if "layer1.0.conv3.weight" in plain else "basic"
    known: dict[tuple[tuple[int, ...], str], str] = {
        ((2, 2, 2, 2), "basic"): "resnet18",
        ((3, 4, 6, 3), "basic"): "resnet34",
        ((3, 4, 6, 3), "bottleneck"): "resnet50",
        ((3, 4, 23, 3), "bottleneck"): "resnet101",
    }
    if (depths, kind) not in known:
        raise WeightsError(
            f"{program}: the backbone is none that is known (units per stage {depths}, {kind}). "
            "Expected ResNet-18, -34, -50 or -101, or MobileNetV2. Nothing was written."
        )
    return known[depths, kind]


def rotate_inputs(weight: Tensor, first: int) -> Tensor:
    """A convolution's weight (O, I, h, w) for inputs whose `first` channels have moved behind the others."""
    return torch.cat([weight[:, first:], weight[:, :first]], dim=1)


def check_bands(tensors: Mapping[str, Tensor], name: str, *, program: str) -> None:
    """See that `name`, the weight (O, bands, h, w) of the first convolution, reads 3 bands.

    Raises:
        WeightsError: it is not there, or reads another number, whose mean and deviation nobody knows.
    """
    found = list(tensors[name].shape) if name in tensors else None
    if found is None or len(found) != 4 or found[1] != 3:
        raise WeightsError(
            f"{program}: the first convolution, {name}, {f'has the shape {found}' if found else 'is not there'}. Expected "
            "one that reads 3 bands; how others were normalised is not in the file. Nothing was written; train "
            "from it with --weights."
        )
