"""The model file: one `.safetensors` whose metadata says everything that prediction needs besides the tensors.

The metadata has one JSON object under the key "atrous", described by `Header`. A file that lacks something is refused,
with what is missing; nothing is filled in by guessing. Training states are kept by `atrous.states`, whose two functions
can be had from here too.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from torch import Tensor, nn

from atrous.errors import ConfigError, WeightsError
from atrous.foreign import build
from atrous.labels import Labels
from atrous.models.deeplab import DeepLab
from atrous.models.shapes_only import shapes_only
from atrous.preprocessing import Preprocessing
from atrous.states import load_state, save_state
from atrous.tensors import fit_problems, non_finite, read_tensors, shortened, write_tensors
from atrous.version import __version__

__all__ = [
    "FORMAT_VERSION",
    "Header",
    "LoadedModel",
    "load_model",
    "load_state",
    "read_header",
    "save_model",
    "save_state",
]

FORMAT_VERSION = 1
HEADER_KEY = "atrous"

Byte = Annotated[int, Field(ge=0, le=255)]


class _Part(BaseModel):
    # Strict: "3" is no number. More keys than these may be there, for they may be added without a new format version.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class NetworkPart(_Part):
    """How to build the network again."""

    name: str
    settings: dict[str, Any]


class LabelsPart(_Part):
    """The classes, in order."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    palette: tuple[tuple[Byte, Byte, Byte], ...]
    ignore_index: int


class PreprocessingPart(_Part):
    """How an image becomes the input."""

    bands: int
    value_range: tuple[FiniteFloat, FiniteFloat]
    mean: tuple[FiniteFloat, ...]
    std: tuple[FiniteFloat, ...]
    resize: Literal["none", "longest side", "scale"]
    resize_to: int | None = None
    resize_scale: FiniteFloat | None = None
    pad_to: int = 1
    pixels: Literal["rgb", "uint8", "uint16", "float32"] = "rgb"
    band_ranges: tuple[tuple[FiniteFloat, FiniteFloat], ...] | None = None
    nodata: FiniteFloat | None = None


class Header(_Part):
    """The JSON object in a model file's metadata."""

    format_version: Literal[1]
    atrous_version: str
    network: NetworkPart
    labels: LabelsPart
    preprocessing: PreprocessingPart
    scores: dict[str, Any] | None = None
    """Metrics with the fingerprint of the data they were measured on, the engine and the precision."""
    licence: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What a model file holds.

    `network` is in eval mode on the CPU, in float32. `metadata` has the keys `format_version`, `atrous_version`,
    `network` (name and settings), `scores` and `licence` (the last two None where unknown).
    """

    network: DeepLab
    labels: Labels
    preprocessing: Preprocessing
    metadata: dict[str, Any]


def save_model(
    path: Path,
    network: nn.Module,
    *,
    labels: Labels,
    preprocessing: Preprocessing,
    scores: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> None:
    """Write a model file, atomically: `path` holds the whole new model, or what it held before.

    Args:
        path: where to; by custom `*.safetensors`.
        network: from `atrous.models`; on any device, in any floating type.
        labels: as many classes as the network.
        preprocessing: as many bands as the network.
        scores: JSON's types; NaN and infinity are written as null.
        licence: of the weights.

    Raises:
        WeightsError: a network that atrous did not build, labels or bands that are not its own, NaN in its tensors.
        OutputError: the file cannot be written.
    """
    if not isinstance(network, DeepLab) or network.name is None:
        raise WeightsError(
            f"This {type(network).__name__} cannot be written as a model file: atrous did not build it, so the file "
            "could not say how to build it again. Expected a network from atrous.models. Save its state_dict yourself."
        )
    header = Header(
        format_version=FORMAT_VERSION,
        atrous_version=__version__,
        network=NetworkPart(name=network.name, settings=network.settings),
        labels=LabelsPart(**asdict(labels)),
        preprocessing=PreprocessingPart(**asdict(preprocessing)),
        scores=None if scores is None else _without_nan(dict(scores)),
        licence=licence,
    )
    _check_agreement(f"This {network.name}", network, header)
    tensors = network.state_dict()
    broken = non_finite(tensors)
    if broken:
        raise WeightsError(
            f"{path} was not written: {len(broken)} tensors hold NaN or infinity: {shortened(broken)}. "
            "Expected finite numbers. Train with a smaller rate, or go back to an earlier model."
        )
    left_out: dict[str, Any] = {name: True for name in ("scores", "licence") if not getattr(header, name)}
    if preprocessing.pixels == "rgb":  # the same file as before there were others
        left_out["preprocessing"] = {"pixels", "band_ranges", "nodata"}
    document = header.model_dump(mode="json", exclude=left_out)
    write_tensors(path, tensors, key=HEADER_KEY, document=document)


def load_model(path: Path) -> LoadedModel:
    """Read a model file: build the network, and fill it.

    Raises:
        WeightsError: no such file; not a model file; damaged; of another format version; without something that
            prediction needs; tensors that do not fit the network or hold NaN.
    """
    tensors, metadata = read_tensors(path)
    header = _parse_header(path, metadata)
    network = _build(path, header, tensors)
    _check_agreement(str(path), network, header)
    _fill(path, network, tensors)
    try:
        labels = Labels(**header.labels.model_dump())
        preprocessing = Preprocessing(**header.preprocessing.model_dump())
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    facts = header.model_dump(include={"format_version", "atrous_version", "network", "scores", "licence"})
    return LoadedModel(network=network, labels=labels, preprocessing=preprocessing, metadata=facts)


def read_header(path: Path, metadata: Mapping[str, str]) -> Header | None:
    """The header in a safetensors file's `metadata`; None where there is none, so that the file is not a model file.

    Raises:
        WeightsError: a header that is damaged, incomplete, or of another format version.
    """
    return _parse_header(path, metadata) if HEADER_KEY in metadata else None


def _parse_header(path: Path, metadata: Mapping[str, str]) -> Header:
    if HEADER_KEY not in metadata:
        raise WeightsError(
            f"{path} holds tensors but not what prediction needs: architecture, class names, preprocessing. "
            "Expected a model file written by atrous. To start a training from these tensors, give the file to "
            "`atrous train --weights`."
        )
    try:
        document = json.loads(metadata[HEADER_KEY])
        version = document.get("format_version") if isinstance(document, dict) else None
        if isinstance(version, int) and version != FORMAT_VERSION:
            raise WeightsError(
                f"{path} has format version {version}. Expected {FORMAT_VERSION}, which atrous {__version__} reads. "
                "Open it with the atrous version that wrote it, or install a newer one."
            )
        return Header.model_validate_json(metadata[HEADER_KEY])
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc'])) or 'header'}: {item['msg'].lower()}" for item in error.errors()]
        raise _damaged(path, shortened(problems)) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, what: str) -> WeightsError:
    return WeightsError(
        f"{path}: its metadata is not what prediction needs ({what}). Expected a model file as atrous writes it. "
        "Copy it again from where it came from, or train again."
    )


def _build(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> DeepLab:
    """The header's network, without memory: a hostile header cannot ask for much, and no random number is drawn."""
    rates = header.network.settings.get("atrous_rates")
    if isinstance(rates, list) and len(rates) > len(tensors):
        raise _damaged(path, f"{len(rates)} atrous rates, but {len(tensors)} tensors")
    try:
        with shapes_only():
            return build(header.network.name, **header.network.settings)
    except ConfigError as error:
        raise _damaged(path, str(error)) from error
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:  # e.g. more channels than a tensor can have
        raise _damaged(path, f"network.settings: {type(error).__name__}: {error}".splitlines()[0]) from error


def _check_agreement(what: str, network: DeepLab, header: Header) -> None:
    """Raise where classes or bands of the header are not as many as the network's."""
    classes, bands = network.settings["num_classes"], network.settings["in_channels"]
    if len(header.labels.names) != classes or header.preprocessing.bands != bands:
        raise WeightsError(
            f"{what} has {classes} classes and {bands} bands, but there are {len(header.labels.names)} class names and "
            f"preprocessing for {header.preprocessing.bands} bands. Expected as many. Give the labels and the "
            "preprocessing that belong to this network."
        )


def _fill(path: Path, network: DeepLab, tensors: Mapping[str, Tensor]) -> None:
    """Give a network without memory the tensors, exactly one for each of its own."""
    own = network.state_dict()
    problems = fit_problems(own, tensors)
    broken = non_finite(tensors)
    if broken:
        problems.append(f"{len(broken)} with NaN or infinity ({shortened(broken)})")
    if problems:
        raise WeightsError(
            f"{path} does not hold the tensors of its {network.name}: {'; '.join(problems)}. Expected each of its "
            f"{len(own)} tensors once. Copy the file again from where it came from, or train again."
        )
    fitting = {name: tensor.to(own[name].dtype) for name, tensor in tensors.items()}
    network.load_state_dict(fitting, strict=True, assign=True)
    network.eval()


def _without_nan(value: Any) -> Any:
    """`value` with None for every NaN and infinity, which JSON does not have, and plain numbers for numpy's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
