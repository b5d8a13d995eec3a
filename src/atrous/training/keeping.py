"""Keeping the outputs of a frozen part: whether they fit, making them once, and training on them."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from atrous.cache import cache_folder
from atrous.config import TrainConfig
from atrous.data.features import FeatureStore, key_of
from atrous.data.loader import Item, TrainingImages
from atrous.foreign import build
from atrous.models.deeplab import DeepLab
from atrous.models.shapes_only import shapes_only
from atrous.tensors import digest
from atrous.training.cut import Cut, cut_for

__all__ = ["Keeping", "KeptImages", "choose_keeping", "keep_outputs", "open_store"]

USUAL_VIEWS = 4
GIGABYTE = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How many views of every image there are (None: new ones every epoch), and whether the frozen outputs are kept."""

    views: int | None
    keep: bool
    bytes: int = 0


def choose_keeping(
    config: TrainConfig,
    model: str,
    network: Mapping[str, Any],
    *,
    crop: tuple[int, int],
    num_images: int,
    reasons: list[str],
) -> Keeping:
    """Decide from what is frozen, the size of its outputs, and the room there is.

    Sizes come from the network without weights or memory; nothing is computed.
    """
    if config.freeze == "none" and config.freeze_until is None:
        return Keeping(views=config.views, keep=False)
    if config.second_stage:
        reasons.append("the frozen part is computed anew every time: the second stage has another stride")
        return Keeping(views=config.views, keep=False)
    with shapes_only():
        empty = build(model, **network).eval()
    cut = cut_of(config, empty)
    if not cut.is_real:
        reasons.append(f"the frozen part is computed anew every time: {model} is another program's network")
        return Keeping(views=config.views, keep=False)
    image = torch.empty(1, empty.settings["in_channels"], *crop, device="meta")  # pyright: ignore[reportArgumentType]
    itemsize = 4 if config.cache_type == "float32" else 2
    entry = sum(value.numel() for value in cut.frozen(empty, image).values()) * itemsize + crop[0] * crop[1] + 4096
    views = config.views or USUAL_VIEWS
    total = entry * num_images * views
    what = f"{num_images} images x {views} view{'s'[: views > 1]} x {_size(entry)} = {_size(total)}"
    limit = round(config.cache_gb * GIGABYTE)
    room = min(limit, _free() - GIGABYTE)
    if total <= room:
        reasons.append(
            f"the frozen part runs once per image and view, and its outputs are kept in {cache_folder()}: {what}"
        )
        return Keeping(views=views, keep=True, bytes=total)
    found = (
        f"--set cache_gb={config.cache_gb:g} allows less" if total > limit else f"only {_size(max(room, 0))} are free"
    )
    reasons.append(f"the frozen part is computed anew every time: its outputs would take {what}, and {found}")
    return Keeping(views=config.views, keep=False)


def cut_of(config: TrainConfig, network: DeepLab) -> Cut:
    """The cut that the settings ask for."""
    auxiliary = bool(config.auxiliary_weight) and config.freeze != "all-but-last"
    return cut_for(network, config.freeze, until=config.freeze_until, auxiliary=auxiliary)


def open_store(config: TrainConfig) -> FeatureStore:
    """The store in the cache folder."""
    dtype = torch.float32 if config.cache_type == "float32" else torch.bfloat16
    return FeatureStore(cache_folder() / "features", limit=round(config.cache_gb * GIGABYTE), dtype=dtype)


class KeptImages(TorchDataset[Item]):
    """The frozen part's outputs by (epoch, index), as `TrainingImages` gives images.

    `keys` are those of the store's entries, by view and index.
    """

    def __init__(self, store: FeatureStore, keys: list[list[str]], *, names: tuple[str, ...], seed: int) -> None:
        self.store, self.keys, self.names, self.seed = store, keys, names, seed

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """Return the outputs by name (h, w, C) float32, the mask (H, W), and the sample's name."""
        epoch, index = key
        tensors = self.store.get(self.keys[epoch % len(self.keys)][index])
        mask = tensors.pop("mask").numpy()
        return {name: value.numpy() for name, value in tensors.items()}, mask, self.names[index]


def keep_outputs(
    network: DeepLab,
    cut: Cut,
    images: TrainingImages,
    store: FeatureStore,
    *,
    frozen: Callable[[Tensor], dict[str, Tensor]],
    note: Callable[[int, int], None],
    check: Callable[[], None],
) -> KeptImages | None:
    """Make what the store does not have, and return the images as the trained part sees them; None without room.

    Args:
        network: with its frozen modules in eval mode; its frozen tensors are part of every key.
        cut: where the network is cut.
        images: views of the training images; so many of each as `images.views` says.
        store: where outputs are kept; what was not used for longest gives way.
        frozen: computes the outputs of images (1, bands, H, W); by whatever engine, equal to `cut.frozen`.
        note: called with (outputs there, in all).
        check: called after every image and may raise.

    Raises:
        OutputError: an entry cannot be written.
    """
    store.clean()
    origin = _digest_of_frozen(network, cut)
    keys: list[list[str]] = []
    missing: list[tuple[int, int]] = []
    for view in range(images.views or 1):
        keys.append([])
        for index in range(len(images)):
            maps, mask, _ = images[view, index]
            key = key_of(origin=origin, type=str(store.dtype), image=_digest(maps["image"]), mask=_digest(mask))
            keys[-1].append(key)
            if not store.has(key):
                missing.append((view, index))
            check()
    total = len(keys) * len(images)
    for number, (view, index) in enumerate(missing):
        maps, mask, _ = images[view, index]
        outputs = frozen(torch.from_numpy(maps["image"][None]).permute(0, 3, 1, 2))
        entry = {name: value[0].permute(1, 2, 0).cpu() for name, value in outputs.items()}
        entry["mask"] = torch.from_numpy(mask)
        if number == 0 and not store.make_room(store.size_of(entry) * len(missing), keep=chain(*keys)):
            return None
        store.put(keys[view][index], entry)
        note(total - len(missing) + number + 1, total)
        check()
    return KeptImages(store, keys, names=tuple(sample.name for sample in images.samples), seed=images.seed)


def _digest_of_frozen(network: DeepLab, cut: Cut) -> str:
    """What names the frozen part: its tensors, how it is built, and where it is cut."""
    tensors: dict[str, Tensor] = {}
    for prefix, module in network.named_modules():
        for name, value in module.named_parameters(prefix, recurse=False):
            if not value.requires_grad:
                tensors[name] = value.detach().cpu().contiguous()
        for name, value in module.named_buffers(prefix, recurse=False):
            if not module.training:
                tensors[name] = value.detach().cpu().contiguous()
    settings = {key: value for key, value in network.settings.items() if key != "num_classes"}
    return digest(tensors, {"network": network.name, "settings": settings, "cut": [cut.freeze, cut.until, cut.reads]})


def _digest(array: np.ndarray[Any, Any]) -> str:
    shape = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(array).tobytes()).hexdigest()


def _free() -> int:
    folder = cache_folder()
    existing = next((part for part in (folder, *folder.parents) if part.exists()), folder)
    return shutil.disk_usage(existing).free


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
