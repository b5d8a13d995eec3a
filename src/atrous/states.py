"""Training states: nested Python values with tensors in them, kept exactly in one `.safetensors` file, without pickle.

The tensors (and numpy arrays) become the file's tensors; the rest becomes JSON in its metadata. JSON has no tuples, no
bytes, no infinities and only text as keys, so those, and every dict, are written as an object of one entry that says
what it is: `{"tuple": [...]}`, `{"dict": [[key, value], ...]}`, `{"tensor": "12"}`.
"""

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atrous.errors import WeightsError
from atrous.tensors import as_written, read_tensors, write_tensors

__all__ = ["load_state", "rehearse_saving", "save_state"]

STATE_KEY = "atrous_state"
FORMAT_VERSION = 1


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` to `path`, atomically.

    It may hold, nested to any depth: None, bool, int, float (also NaN and infinity), str, bytes, list, tuple, dict
    (keys of the simple types), tensors and numpy arrays. An optimiser's `state_dict()` and random number states are
    made of these. `load_state` gives equal values of the same types; tensors come back contiguous and on the CPU,
    subclasses (OrderedDict, numpy's scalars, Parameter) as the plain type.

    Raises:
        TypeError: a value of another type; the message says where.
        OutputError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    document = {"format_version": FORMAT_VERSION, "state": _encode(state, tensors, where="state")}
    write_tensors(path, tensors, key=STATE_KEY, document=document)


def rehearse_saving(state: Mapping[str, Any]) -> None:
    """Take the memory that `save_state` takes beside the state, and give it back; nothing is written."""
    tensors: dict[str, Tensor] = {}
    _encode(state, tensors, where="state")
    as_written(tensors)


def load_state(path: Path) -> dict[str, Any]:
    """Return what `save_state` wrote.

    Raises:
        WeightsError: no such file, damaged, or not one of these.
    """
    tensors, metadata = read_tensors(path)
    if STATE_KEY not in metadata:
        raise WeightsError(
            f"{path} holds no training state. Expected a file from the folder last/ of a run. "
            "A model file is opened with `atrous.load`."
        )
    try:
        document = json.loads(metadata[STATE_KEY])
        version = document["format_version"]
        state = _decode(document["state"], tensors) if version == FORMAT_VERSION else None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise WeightsError(
            f"{path}: the training state is damaged ({type(error).__name__}: {error}). Expected it as it was written. "
            "Resume from another copy, or train again."
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(
            f"{path}: the training state has format version {version!r}. Expected {FORMAT_VERSION}. Resume it with the "
            "atrous version that wrote it."
        )
    return state


def _encode(value: object, tensors: dict[str, Tensor], *, where: str) -> object:
    """`value` as JSON; its tensors go into `tensors` under new names."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool() | str():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else {"float": repr(float(value))}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case list():
            return [_encode(item, tensors, where=f"{where}[{index}]") for index, item in enumerate(value)]
        case tuple():
            return {"tuple": [_encode(item, tensors, where=f"{where}[{index}]") for index, item in enumerate(value)]}
        case Mapping():
            return {"dict": [_encode_item(*item, tensors, where=where) for item in value.items()]}
        case Tensor():
            return {"tensor": _stored(value, tensors, where=where)}
        case np.ndarray():
            return {"array": _stored(torch.from_numpy(np.array(value, order="C")), tensors, where=where)}
    raise TypeError(f"{where} is a {type(value).__name__}, which a training state cannot hold")


def _encode_item(key: object, value: object, tensors: dict[str, Tensor], *, where: str) -> list[object]:
    if not isinstance(key, str | int | float | bytes | None):
        raise TypeError(f"{where} has the key {key!r}; keys must be text, numbers, bytes or None")
    return [_encode(key, tensors, where=where), _encode(value, tensors, where=f"{where}[{key!r}]")]


def _stored(tensor: Tensor, tensors: dict[str, Tensor], *, where: str) -> str:
    """Put `tensor` among `tensors` and return its name there."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise TypeError(f"{where} is a sparse or quantised tensor, which a training state cannot hold")
    name = str(len(tensors))
    tensors[name] = tensor
    return name


def _decode(value: object, tensors: Mapping[str, Tensor]) -> Any:
    """The opposite of `_encode`. Raises ValueError, KeyError or TypeError for what `_encode` never writes."""
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "tuple":
            return tuple(_decode(item, tensors) for item in content)
        case "dict":
            return {_decode(key, tensors): _decode(item, tensors) for key, item in content}
        case "float":
            return float(content)
        case "bytes":
            return base64.b64decode(content, validate=True)
        case "tensor":
            return tensors[content]
        case "array":
            return tensors[content].numpy()
        case _:
            raise ValueError(f"unknown kind of value {kind!r}")
