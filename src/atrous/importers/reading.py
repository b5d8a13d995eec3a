"""From a file to an imported network: read, recognise, convert."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from atrous.checkpoint import read_header
from atrous.errors import ConfigError, WeightsError
from atrous.importers.adapter import Adapter, Choices, Imported
from atrous.importers.jfzhang95 import JFZHANG95
from atrous.importers.mmseg import MMSEG
from atrous.importers.npz import is_npz, read_npz
from atrous.importers.smp import SMP
from atrous.importers.tensorflow import HUGGING_FACE, TENSORFLOW
from atrous.importers.torchvision import TORCHVISION
from atrous.importers.vainf import VAINF
from atrous.tensors import is_safetensors, read_tensors, shortened
from atrous.weights import read_state_dict

__all__ = ["ADAPTERS", "read_foreign"]

ADAPTERS: dict[str, Adapter] = {
    "torchvision": TORCHVISION,
    "tensorflow": TENSORFLOW,
    "huggingface": HUGGING_FACE,
    "smp": SMP,
    "vainf": VAINF,
    "jfzhang95": JFZHANG95,
    "mmseg": MMSEG,
}


def read_foreign(path: Path, *, source: str | None = None, choices: Choices | None = None) -> Imported:
    """Make a network of another program's weights.

    Args:
        path: a `.pth`, `.pt`, `.bin`, `.safetensors` or `.npz` file; nothing in it is run.
        source: one of `ADAPTERS`; by default it is recognised by the names of the tensors.
        choices: what the tensors do not tell.

    Raises:
        ConfigError: an unknown source, or choices that do not fit.
        WeightsError: a file that cannot be read, is not recognised, or is not understood to the last tensor.
    """
    if source is not None and source not in ADAPTERS:
        raise ConfigError(f"--from {source}: not known. Choose one of {', '.join(ADAPTERS)}, or leave it out.")
    tensors = _read(path)
    recognised = [name for name, adapter in ADAPTERS.items() if adapter.recognise(tensors)]
    if source is not None and source not in recognised:
        others = f"; they look like {recognised[0]}'s" if recognised else ""
        raise WeightsError(
            f"{path}: --from {source}, but its {len(tensors)} tensors have other names: {shortened(tensors)}{others}. "
            f"Expected {ADAPTERS[source].layout}. Leave --from out, or give the right one."
        )
    if not recognised:
        known = "; ".join(f"{name} ({adapter.layout})" for name, adapter in ADAPTERS.items())
        raise WeightsError(
            f"{path}: no program is known that gives its {len(tensors)} tensors their names: {shortened(tensors)}. "
            f"Expected the DeepLab of one of: {known}. A backbone alone goes to `atrous train --weights`."
        )
    try:
        return ADAPTERS[source or recognised[0]].convert(tensors, choices or Choices())
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _read(path: Path) -> Mapping[str, Tensor]:
    """The tensors, without the `model.` that Lightning puts before each name."""
    try:
        if is_npz(path):
            return read_npz(path)
        if is_safetensors(path) and read_header(path, read_tensors(path)[1]) is not None:
            raise WeightsError(
                f"{path} is an atrous model file already. Expected another program's weights. Use it as it is."
            )
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}). Expected a .pth, .safetensors or .npz file. "
            "Check the path and its permissions."
        ) from error
    tensors = read_state_dict(path)
    if all(name.startswith("model.") for name in tensors):
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return tensors
