"""What an importer is: how to recognise a program's tensors, and how to make a network of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atrous.errors import ConfigError, WeightsError
from atrous.foreign import build
from atrous.labels import VOC, Labels
from atrous.models.deeplab import DeepLab
from atrous.models.shapes_only import shapes_only
from atrous.preprocessing import Preprocessing
from atrous.tensors import fit_problems, shortened

__all__ = ["Adapter", "Choices", "Imported", "Tensors", "choose_labels", "fill"]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the tensors do not tell; None for the program's default."""

    output_stride: int | None = None
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network in eval mode with what prediction needs, and sentences for the user about what was taken for granted."""

    program: str
    network: DeepLab
    labels: Labels
    preprocessing: Preprocessing
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One program. `convert` raises WeightsError for tensors that it does not understand."""

    program: str
    """Its name in full, for people; the short name is the adapter's key."""
    layout: str
    """Names of tensors by which a person knows it."""
    recognise: Callable[[Tensors], bool]
    convert: Callable[[Tensors, Choices], Imported]


def fill(name: str, tensors: dict[str, Tensor], *, unknown: Sequence[str], program: str, **settings: object) -> DeepLab:
    """Build the network `name` and fill it with `tensors`, which have its own names by now.

    Counts of batches (`num_batches_tracked`) may be missing. `unknown` are names that no rule covered.

    Raises:
        WeightsError: tensors that are unknown, missing, or of another shape.
    """
    if unknown:
        raise WeightsError(
            f"{len(unknown)} tensors of {program} are not understood: {shortened(sorted(unknown))}. Expected those of "
            f"{name} and no others. Nothing was written; import a network of that kind."
        )
    try:
        with shapes_only():
            network = build(name, **settings)
    except ConfigError as error:
        raise WeightsError(f"{program}: {error}") from error
    own = network.state_dict()
    for key in own:
        if key.endswith(".num_batches_tracked"):
            tensors.setdefault(key, torch.zeros((), dtype=torch.int64))
    problems = fit_problems(own, tensors)
    if problems:
        raise WeightsError(
            f"The tensors of {program} do not make a whole {name}: {'; '.join(problems)}. Expected each of its {len(own)} "
            "tensors once. Nothing was written; import a network of that kind."
        )
    network.to_empty(device="cpu").load_state_dict(tensors, strict=True)
    return network.eval()


def choose_labels(num_classes: int, choices: Choices) -> tuple[Labels, str]:
    """The classes' names, and the sentence that says where they are from.

    Raises:
        ConfigError: given names that are not as many as the classes.
    """
    if choices.names is not None:
        if len(choices.names) != num_classes:
            raise ConfigError(
                f"--names has {len(choices.names)} names, but the network has {num_classes} classes. "
                "Give one name for each, in order, with commas."
            )
        return Labels(names=choices.names), f"{num_classes} classes, named as given"
    if num_classes == VOC.num_classes:
        return VOC, "21 classes: taken for PASCAL VOC's (give others with --names)"
    return Labels.numbered(num_classes), f"{num_classes} classes without names (give them with --names)"
