"""Reading weights from elsewhere into a network: a backbone or a whole network, told apart by their keys.

Nothing in such a file is ever run: `torch.load` reads it with `weights_only=True` or not at all.
"""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from atrous.checkpoint import Header, read_header
from atrous.errors import WeightsError
from atrous.models.deeplab import DeepLab
from atrous.tensors import FLOATS, fit_problems, is_safetensors, non_finite, read_tensors, shortened

__all__ = ["LoadedWeights", "adapt_bands", "load_weights", "read_state_dict"]

WRAPPERS = ("state_dict", "model", "model_state", "ema")  # where others put the tensors, in this order
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
FOREIGN = {
    "encoder.": "segmentation_models_pytorch",
    "decode_head.": "MMSegmentation",
    "aspp.aspp": "pytorch-deeplab-xception",
}
# What decides how far atrous convolution reaches, and leaves no trace in the tensors.
SILENT_SETTINGS = ("output_stride", "atrous_rates", "dilate_first_unit", "multi_grid")


@dataclass(frozen=True, kw_only=True)
class LoadedWeights:
    """What was loaded: a backbone or a whole network.

    `restarted` names the parts of the network that keep the random numbers they had, `dropped` the parts of the file
    that were not used. `summary` is a sentence for the user that says all of it.
    """

    kind: Literal["backbone", "network"]
    restarted: tuple[str, ...]
    dropped: tuple[str, ...]
    summary: str


def adapt_bands(weight: Tensor, bands: int) -> Tensor:
    """A convolution's weight (O, B, h, w), made for B bands, for images of `bands` bands: (O, bands, h, w).

    Band i gets the weights of band i mod B, times B / `bands`, which keeps the size of the answer (exactly, where the
    bands are equal and `bands` a multiple of B); one band gets the sum. The rule is segmentation_models.pytorch's.
    The weight itself is returned where the bands are as many.

    Raises:
        ValueError: fewer than one band.
    """
    own = weight.shape[1]
    if bands < 1:
        raise ValueError(f"{bands} bands; there must be one at least")
    if bands == own:
        return weight
    if bands == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, [band % own for band in range(bands)]] * (own / bands)


class _Content(NamedTuple):
    """Tensors of a file, the header where it is atrous's own model file, and a sentence about the reading, if any."""

    tensors: dict[str, Tensor]
    header: Header | None
    note: str


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pth`, `.pt` or `.safetensors` file, on the CPU.

    Tensors inside an entry `state_dict`, `model`, `model_state` or `ema` (the first of these that is there) are taken
    out, and the prefixes `module.` and `_orig_mod.` are removed where all names have them.

    Raises:
        WeightsError: no such file; damaged; a pickle that wants to run code; no tensors, or other things among them;
            NaN or infinity.
    """
    return _read(path).tensors


def load_weights(network: DeepLab, path: Path) -> LoadedWeights:
    """Fill `network`, in place, from a file with a backbone (ImageNet checkpoints) or a whole network.

    Where only the number of classes differs, exactly the last layers keep their random numbers. An auxiliary head that
    only the file has is left out; one that only the network has keeps its random numbers. `num_batches_tracked` may be
    missing. A first convolution for another number of bands is adapted by `adapt_bands`, which the summary tells.
    Anything else that does not fit is an error, and the network is then unchanged.

    Raises:
        WeightsError: as `read_state_dict`; unknown names; tensors that do not fit.
    """
    content = _read(path)
    names = content.tensors.keys()
    with_prefix = [name for name in names if name.startswith("backbone.")]
    if with_prefix and any(name.startswith("classifier.") for name in names):
        return _load_network(network, path, content)
    if (with_prefix and len(with_prefix) == len(names)) or any(
        name.startswith(("features.", "layer1.")) for name in names
    ):
        return _load_backbone(network, path, content)
    source = next((source for start, source in FOREIGN.items() if any(name.startswith(start) for name in names)), None)
    raise WeightsError(
        f"{path} holds {len(names)} tensors with names that are not known: {shortened(names)}"
        f"{f'. They look like those of {source}, which `atrous import` converts' if source else ''}. Expected a "
        "torchvision classification checkpoint (conv1, layer1, ...; features.0, ...), a network (backbone, classifier) "
        "or an atrous model file. Rename the tensors, or use other weights."
    )


def _read(path: Path) -> _Content:
    try:
        if is_safetensors(path):
            tensors, metadata = read_tensors(path)
            header = read_header(path, metadata)
            note = ""
        else:
            tensors, note = _unwrap(path, _read_pickle(path))
            header = None
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}). Expected a .pth, .pt or .safetensors file. "
            "Check the path and its permissions."
        ) from error
    tensors = _without_prefixes(tensors)
    _check(path, tensors)
    return _Content(tensors, header, note)


def _read_pickle(path: Path) -> Any:
    """What `torch.load` makes of the file without running any code in it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except OSError:
        raise
    except Exception as error:  # damaged files raise a dozen kinds: KeyError, IndexError, AssertionError, ...
        # torch's own text advises to run the code all the same; only its last part is of use.
        reason = f"{type(error).__name__}: {error}".rpartition("WeightsUnpickler error:")[2].strip()
        if isinstance(error, UnpicklingError) and re.search("global|class|function|call|build", reason, re.IGNORECASE):
            wanted = re.search(r"GLOBAL (\S+)", reason)
            raise WeightsError(
                f"{path} holds more than tensors: to open it, code would have to be run"
                f"{f' ({wanted[1]})' if wanted else ''}. It was not run. Expected tensors only. Where you trust the "
                "file, open it with the program that wrote it, and save only its state_dict."
            ) from error
        raise WeightsError(
            f"{path} cannot be read as PyTorch weights ({reason[:200].partition(chr(10))[0]}). Expected an undamaged .pth, "
            ".pt or .safetensors file. Check the path, or copy or download the file again."
        ) from error


def _can_be_mapped(path: Path) -> bool:
    """Whether the file can be mapped to memory: a zip archive (as torch writes since 1.6) without compression."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def _unwrap(path: Path, content: object) -> tuple[dict[str, Tensor], str]:
    """The tensors among what was read, and from which entry they were taken."""
    note = ""
    for _ in range(len(WRAPPERS)):
        if not isinstance(content, Mapping) or any(isinstance(value, Tensor) for value in content.values()):
            break
        entries = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not entries:
            break
        others = f" ({', '.join(entries[1:])} not)" if entries[1:] else ""
        note = f" Its entry {entries[0]!r} was read{others}."
        content = content[entries[0]]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        what = f"entries {shortened(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(
            f"{path} holds no weights ({what}). Expected names with tensors, or these under {', '.join(WRAPPERS)}. "
            "Choose the file with the network's state_dict, not the optimiser's."
        )
    others = [str(name) for name, value in content.items() if type(value) not in (Tensor, nn.Parameter)]
    others += [str(name) for name in content if not isinstance(name, str)]
    if others:
        raise WeightsError(
            f"{path} holds other things among its tensors: {shortened(others)}. Expected names with tensors only. "
            "Save the network's state_dict alone."
        )
    return {name: tensor.detach() for name, tensor in content.items()}, note


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES * 2:  # either may be around the other
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _check(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise for tensors that are none in memory (sparse, quantised, one number spread over gigabytes) or not finite."""
    if not tensors:
        raise WeightsError(f"{path} holds no tensors. Expected a network's weights. Choose another file.")
    odd = [
        name
        for name, tensor in tensors.items()
        if tensor.layout != torch.strided
        or tensor.device.type != "cpu"
        or tensor.is_quantized
        or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    ]
    if odd:
        raise WeightsError(
            f"{path} holds sparse, quantised or expanded tensors: {shortened(odd)}. Expected plain ones. "
            "Save them as ordinary floating-point tensors."
        )
    broken = non_finite(tensors)
    if broken:
        raise WeightsError(
            f"{path} holds NaN or infinity in {len(broken)} tensors: {shortened(broken)}. Expected finite numbers. "
            "Use an earlier checkpoint of that training."
        )


def _load_backbone(network: DeepLab, path: Path, content: _Content) -> LoadedWeights:
    """Fill the backbone; the heads keep their random numbers."""
    own = network.backbone.state_dict()
    tensors: dict[str, Tensor] = {}
    dropped: set[str] = set()
    # MobileNetV2's last convolution belongs to its classifier; DeepLab ends one block earlier.
    positions = {name.partition(".")[0] for name in own}
    unused = "features.18" if "17" in positions and "18" not in positions else None
    for name, tensor in content.tensors.items():
        part = name.partition(".")[0]
        if part in ("fc", "classifier"):
            dropped.add(part)
        elif unused is not None and name.startswith(f"{unused}."):
            dropped.add(unused)
        else:
            tensors[name.removeprefix("backbone.").removeprefix("features.")] = tensor
    adapted = _fill(network.backbone, path, tensors, own, what=f"the backbone of {_name(network)}")
    restarted = ("classifier",) if network.aux_classifier is None else ("classifier", "aux_classifier")
    summary = (
        f"{path.name} holds a backbone: its {len(tensors)} tensors were loaded; starting anew: {', '.join(restarted)}."
    )
    if dropped:
        summary += f" Not used: the file's {', '.join(sorted(dropped))}."
    if adapted:
        summary += f" {adapted[0].upper()}{adapted[1:]}."
    return LoadedWeights(
        kind="backbone", restarted=restarted, dropped=tuple(sorted(dropped)), summary=summary + content.note
    )


def _load_network(network: DeepLab, path: Path, content: _Content) -> LoadedWeights:
    """Fill the whole network, but for last layers of another class count and an auxiliary head that one side lacks."""
    own, tensors = network.state_dict(), dict(content.tensors)
    restarted: list[str] = []
    dropped: list[str] = []
    notes: list[str] = []
    has_auxiliary = any(name.startswith("aux_classifier.") for name in tensors)
    if has_auxiliary and network.aux_classifier is None:
        dropped.append("aux_classifier")
        notes.append("aux_classifier was left out, as this network has none")
    if not has_auxiliary and network.aux_classifier is not None:
        restarted.append("aux_classifier")
        notes.append("aux_classifier starts anew, as the file has none")
    for part in [*dropped, *restarted]:
        own, tensors = _without(own, part), _without(tensors, part)
    for layer in _last_layers(network):
        here, there = own.get(f"{layer}.weight"), tensors.get(f"{layer}.weight")
        if here is None or there is None or here.shape == there.shape or here.shape[1:] != there.shape[1:]:
            continue
        restarted.append(layer)
        notes.append(f"{layer} starts anew, with {len(here)} classes in place of {len(there)}")
        own, tensors = _without(own, layer), _without(tensors, layer)
    adapted = _fill(network, path, tensors, own, what=_name(network))
    notes += [adapted] if adapted else []
    notes.insert(0, f"{path.name} holds a network: {len(tensors)} tensors were loaded")
    notes += _silent_differences(network, content.header)
    return LoadedWeights(
        kind="network",
        restarted=tuple(restarted),
        dropped=tuple(dropped),
        summary="; ".join(notes) + "." + content.note,
    )


def _fill(module: nn.Module, path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], *, what: str) -> str:
    """Copy `tensors` into `own`, which is (a part of) the state of `module`, or raise with all that does not fit.

    Returns a sentence about an adapted first convolution, empty where it was not.
    """
    counters = {name for name in own if name.endswith(".num_batches_tracked") and name not in tensors}
    expected = {name: tensor for name, tensor in own.items() if name not in counters}
    tensors, adapted = _with_bands_of(expected, tensors)
    problems = fit_problems(expected, tensors)
    if problems:
        raise WeightsError(
            f"{path} does not fit {what}: {'; '.join(problems)}. Expected each of {len(expected)} tensors once. "
            "Choose the network that these weights belong to, or other weights."
        )
    module.load_state_dict({**module.state_dict(), **tensors}, strict=True)
    return adapted


def _with_bands_of(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """The tensors with the first convolution adapted to the network's bands, and a sentence where that was needed."""
    first = next(iter(expected), "")  # the convolution that reads the image
    if first not in tensors or tensors[first].ndim != 4 or tensors[first].dtype not in FLOATS:
        return tensors, ""
    there, here = tensors[first].shape[1], expected[first].shape[1]
    if there == here or 0 in (there, here):
        return tensors, ""
    adapted = adapt_bands(tensors[first], here)
    how = (
        "their sum, so that it answers as to a grey photograph"
        if here == 1
        else f"taken in turn, times {there}/{here}, so that its answers keep their size"
    )
    return {**tensors, first: adapted}, (
        f"the first convolution, {first}, was made for {there} bands and adapted to {here}: {how}"
    )


def _last_layers(network: DeepLab) -> list[str]:
    """Names of the layers whose outputs are the logits."""
    layers = [getattr(head, "logits", None) for head in (network.classifier, network.aux_classifier)]
    return [name for name, module in network.named_modules() if any(module is layer for layer in layers)]


def _silent_differences(network: DeepLab, header: Header | None) -> list[str]:
    """Settings of our own model file that differ from the network's without leaving a trace in the tensors."""
    if header is None:
        return []
    trained = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header.network.settings.items()
    }
    return [
        f"it was trained with {key} {trained[key]}, this network has {network.settings[key]}"
        for key in SILENT_SETTINGS
        if key in trained and key in network.settings and trained[key] != network.settings[key]
    ]


def _without(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{part}.")}


def _name(network: DeepLab) -> str:
    return network.name or "this network"
