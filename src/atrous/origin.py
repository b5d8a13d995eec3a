"""What a training starts from: random numbers, a file, or published weights; and which network a file is of."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atrous.catalogue import find_published, obtain
from atrous.checkpoint import read_header
from atrous.errors import ConfigError, WeightsError
from atrous.preprocessing import Preprocessing
from atrous.tensors import is_safetensors, read_tensors
from atrous.weights import read_state_dict

__all__ = ["Origin", "find_origin", "published_path"]

KINDS = {"auto": None, "imagenet": "backbone", "voc": "network"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a weights file tells of the network it belongs to; None and empty where it tells nothing."""

    path: Path | None = None
    backbone: str | None = None
    model: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict[str, Any])
    preprocessing: Preprocessing | None = None


def find_origin(weights: str) -> Origin:
    """Look into the file that `--weights` names; `none` and names of published weights have no file yet.

    Raises:
        WeightsError: no such file, or not a checkpoint.
    """
    if weights == "none" or weights in KINDS:
        return Origin()
    path = Path(weights)
    if not path.is_file():
        raise WeightsError(
            f"--weights {weights}: no such file; expected a .pth or .safetensors file, or one of: "
            f"none, {', '.join(KINDS)}. Check the path."
        )
    if is_safetensors(path):
        header = read_header(path, read_tensors(path)[1])
        if header is not None:
            settings = {key: value for key, value in header.network.settings.items() if key != "num_classes"}
            prepared = Preprocessing(**header.preprocessing.model_dump())
            return Origin(path=path, model=header.network.name, network=settings, preprocessing=prepared)
    names = read_state_dict(path).keys()
    backbone = _backbone_of(names)
    whole = any(name.startswith("classifier.") for name in names) and any(n.startswith("backbone.") for n in names)
    if whole and backbone is not None:
        version = "deeplabv3plus" if any(name.startswith("classifier.aspp.") for name in names) else "deeplabv3"
        return Origin(path=path, backbone=backbone, model=f"{version}_{backbone}")
    return Origin(path=path, backbone=backbone)


def published_path(
    weights: str,
    model: str,
    *,
    note: Callable[[str], None] | None = None,
    status: Callable[[Callable[[], str]], None] | None = None,
) -> Path | None:
    """The file of published weights for `model`, fetched into the cache folder if it is not there; None for `none`.

    `note` hears that it is fetched, `status` how far it is.

    Raises:
        ConfigError: nothing is published for this network.
        WeightsError: the file cannot be had; says what to fetch, from where, its hash, and where to put it.
    """
    if weights == "none":
        return None
    published = find_published(model, kind=KINDS[weights])  # pyright: ignore[reportArgumentType]
    if published is None:
        raise ConfigError(
            f"--weights {weights}: nothing is published for {model}. Give a file with --weights FILE, choose another "
            "--model (`atrous models` lists them), or start from random numbers with --weights none."
        )
    try:
        return obtain(published, note=note, status=status)
    except WeightsError as error:
        raise WeightsError(f"--weights {weights}: {error}") from error


def _backbone_of(names: Collection[str]) -> str | None:
    """The backbone that tensors of these names are of, None where it is not known."""
    plain = {name.removeprefix("backbone.").removeprefix("features.") for name in names}
    if "layer1.0.conv1.weight" in plain:
        units = len({name.split(".")[1] for name in plain if name.startswith("layer3.")})
        bottleneck = "layer1.0.conv3.weight" in plain
        return {(2, False): "resnet18", (6, False): "resnet34", (6, True): "resnet50", (23, True): "resnet101"}.get(
            (units, bottleneck)
        )
    if "entry1.conv1.1.weight" in plain:
        return "xception65"
    if "1.block.0.0.weight" in plain:
        return "mobilenet_v3_large"
    return "mobilenet_v2" if "1.conv.0.0.weight" in plain else None
