"""Training batches: which image comes when, read, augmented and put together, the same whatever process does it."""

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from atrous.data.masks import read_mask
from atrous.data.rare import RareClasses
from atrous.data.reading import file_sizes, read_pixels
from atrous.data.samples import Dataset, Sample
from atrous.errors import AtrousError, DataError, TrainingError
from atrous.images import Pixels
from atrous.memory import available_memory
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation, View, draw_view, finish_view, paste_class, warp_view

__all__ = [
    "Batch",
    "Item",
    "TrainingData",
    "TrainingImages",
    "batches",
    "cache_allowance",
    "order",
    "read_pair",
    "told_worker_faults",
]

Pair = tuple[Pixels, NDArray[np.integer]]
Item = tuple[dict[str, NDArray[np.float32]], NDArray[np.integer], str]
"""Named maps (H, W, C), the mask (H, W), and the sample's name."""
LONGEST_WAIT = 600.0  # seconds for a batch: slow disks are waited for, hung workers are not


@dataclass(frozen=True)
class Batch:
    """`inputs` by name, each (N, C, H, W) float32, channels last; `mask` (N, H, W) int64; `names` of the samples.

    The inputs are `image` alone, or what a frozen network made of it.
    """

    inputs: dict[str, Tensor]
    mask: Tensor
    names: tuple[str, ...]

    @property
    def image(self) -> Tensor:
        """The images (N, C, H, W)."""
        return self.inputs["image"]

    def parts(self, number: int) -> "list[Batch]":
        """The batch in at most `number` parts of nearly equal size."""
        masks = self.mask.chunk(min(number, len(self.mask)))
        pieces = {name: value.split([len(mask) for mask in masks]) for name, value in self.inputs.items()}
        starts = [sum(len(mask) for mask in masks[:at]) for at in range(len(masks))]
        return [
            Batch({name: values[at] for name, values in pieces.items()}, mask, self.names[start : start + len(mask)])
            for at, (mask, start) in enumerate(zip(masks, starts, strict=True))
        ]

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to `device`."""
        inputs = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        return Batch(inputs, self.mask.to(device, non_blocking=True), self.names)


def read_pair(sample: Sample, dataset: Dataset, preprocessing: Preprocessing) -> Pair:
    """Read image (H, W, bands), as a model with this `preprocessing` does, and mask (H, W), of its window if it has one.

    Where pixels are missing (NaN, nodata) the mask is void: there is nothing to learn from or to measure.

    Raises:
        DataError: a file is missing, unreadable or of other bands than the model's, the mask has other values than
            classes, or the sizes differ.
    """
    if sample.mask is None:
        raise DataError(f"{sample.image}: has no mask. Run `atrous check {dataset.root}` to list every such file.")
    if sample.window is not None:
        _check_sizes(sample.mask, *file_sizes(sample.image, sample.mask), dataset)
    image = read_pixels(sample.image, preprocessing, sample.window)
    mask = read_mask(sample.mask, labels=dataset.labels, class_map=dataset.class_map, window=sample.window)
    _check_sizes(sample.mask, (image.shape[0], image.shape[1]), (mask.shape[0], mask.shape[1]), dataset)
    missing = preprocessing.missing(image)
    if missing is not None:
        mask = np.where(missing, mask.dtype.type(dataset.labels.ignore_index), mask)
    return image, mask


def _check_sizes(path: Path, image: tuple[int, int], mask: tuple[int, int], dataset: Dataset) -> None:
    if image != mask:
        raise DataError(
            f"{path}: mask is {mask[0]}x{mask[1]} but its image {image[0]}x{image[1]} "
            f"(height x width); they must be equal. Run `atrous check {dataset.root}` to list every such file."
        )


class TrainingData(Protocol):
    """What batches are made of: items by (epoch, index), and the seed of their order."""

    seed: int

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Item: ...


class TrainingImages(TorchDataset[Item]):
    """Augmented views by (epoch, index); the view depends on (seed, epoch, sample name) alone.

    With `views` the epochs go through so many views of every image in turn.

    `rare_crops` is the share of crops that are laid on a pixel of a rare class, and `paste` the share of views into which
    the pixels of a rare class of another image are copied; both need `rare`. Decoded images are kept in memory up to
    `cache_bytes`.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Sequence[Sample],
        *,
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        seed: int,
        cache_bytes: int = 0,
        rare: RareClasses | None = None,
        rare_crops: float = 0.0,
        paste: float = 0.0,
        views: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.samples = tuple(samples)
        self.augmentation = augmentation
        self.preprocessing = preprocessing
        self.seed = seed
        self.cache_bytes = cache_bytes
        self.rare = rare
        self.rare_crops = rare_crops
        self.paste = paste
        self.views = views
        self._cache: dict[int, Pair] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        """Return the view of sample `index` in `epoch`: image (H, W, C) float32, mask (H, W), name."""
        epoch, index = key
        epoch = epoch if self.views is None else epoch % self.views
        sample = self.samples[index]
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(sample.name.encode())])
        rare = self.rare
        chosen = None
        if rare is not None and self.rare_crops and rng.random() < self.rare_crops:
            chosen = rare.draw_within(index, rng)
        pixels, label_map, view = self._warped(index, chosen, rng)
        if rare is not None and self.paste and rng.random() < self.paste:
            pasted, donor = rare.draw_donor(rng)
            donor_pixels, donor_map, _ = self._warped(donor, pasted, rng)
            paste_class(pixels, label_map, donor_pixels, donor_map, pasted)
        return {"image": finish_view(view, pixels, preprocessing=self.preprocessing)}, label_map, sample.name

    def _warped(self, index: int, chosen: int | None, rng: np.random.Generator) -> tuple[*Pair, View]:
        """Draw a view of an image, laid on a pixel of class `chosen`, and warp image and mask by it."""
        image, mask = self.read(index)
        focus = None
        if chosen is not None:
            places = np.flatnonzero(mask == chosen)
            if len(places):
                y, x = divmod(int(places[rng.integers(len(places))]), mask.shape[1])
                focus = (y + 0.5, x + 0.5)
        view = draw_view(self.augmentation, (mask.shape[0], mask.shape[1]), rng, focus=focus)
        ignore_index = self.dataset.labels.ignore_index
        return *warp_view(view, image, mask, preprocessing=self.preprocessing, ignore_index=ignore_index), view

    def read(self, index: int) -> Pair:
        """Cleaned image (H, W, bands) and mask (H, W) of sample `index`, from memory where they are kept."""
        if index in self._cache:
            return self._cache[index]
        image, mask = read_pair(self.samples[index], self.dataset, self.preprocessing)
        pair = np.asarray(self.preprocessing.cleaned(image), image.dtype), mask
        size = pair[0].nbytes + pair[1].nbytes
        if self._cached_bytes + size <= self.cache_bytes:
            self._cache[index] = pair
            self._cached_bytes += size
        return pair


def order(num_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of one epoch: a permutation of the images that depends on (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(num_images)


class _Keys:
    """Batches of (epoch, index) keys from image number `start` on, without end; a batch may span two epochs."""

    def __init__(self, num_images: int, *, batch: int, seed: int, start: int, stop: int | None) -> None:
        self.num_images, self.batch, self.seed, self.start, self.stop = num_images, batch, seed, start, stop

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        position, epoch, permutation = self.start, -1, np.empty(0, np.int64)
        while self.stop is None or position < self.stop:
            keys: list[tuple[int, int]] = []
            while len(keys) < self.batch and (self.stop is None or position < self.stop):
                if position // self.num_images != epoch:
                    epoch = position // self.num_images
                    permutation = order(self.num_images, seed=self.seed, epoch=epoch)
                keys.append((epoch, int(permutation[position % self.num_images])))
                position += 1
            yield keys


def batches(
    images: "TrainingData", *, batch: int, start: int = 0, stop: int | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Yield batches from image number `start` (counted over all epochs) up to `stop`, or without end.

    Args:
        images: what to read from; its seed also gives the order.
        batch: images a step; the last batch before `stop` may be smaller.
        start: number of images already seen, which is all that resuming needs.
        stop: number of images after which to end, None for never.
        workers: processes, started by spawn; 0 reads in this process.
    """
    keys = _Keys(len(images), batch=batch, seed=images.seed, start=start, stop=stop)
    loader: DataLoader[Any] = DataLoader(
        _Told(images),
        batch_sampler=keys,  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_prepare_worker if workers else None,
        persistent_workers=workers > 0,
        timeout=LONGEST_WAIT if workers else 0,
        generator=torch.Generator(),  # else it draws from the global numbers, and a resumed run would see others
    )
    for batch_or_error in loader:
        if isinstance(batch_or_error, AtrousError):
            raise batch_or_error
        yield batch_or_error


@contextmanager
def told_worker_faults(workers: int) -> Iterator[None]:
    """Turn what PyTorch raises when a loading process dies or hangs, at any point of the body, into a clear error.

    Raises:
        TrainingError: in its place.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # Pictures in shared memory are handed over by their maker, so a dead one may also show as a broken connection.
        if not workers or (isinstance(error, RuntimeError) and "DataLoader" not in str(error)):
            raise
        _kill_children()
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise TrainingError(
            f"a process that reads images is gone ({reason}); expected all {workers} to work. It was killed, ran out of "
            "memory or shared memory, or waits for its disk. Give it more memory, or read in the training process: "
            "--set workers=0."
        ) from error


def _kill_children() -> None:
    """End all loading processes at once: at the end of the program a hung one would be waited for."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else PyTorch raises again for each of them
    for child in multiprocessing.active_children():
        child.kill()


class _Told(TorchDataset[Item | AtrousError]):
    """Errors meant for the user are given back as values: a worker's exception would arrive as a wall of text."""

    def __init__(self, images: "TrainingData") -> None:
        self.images = images

    def __getitem__(self, key: tuple[int, int]) -> Item | AtrousError:
        try:
            return self.images[key]
        except AtrousError as error:
            return DataError(str(error))


def _collate(items: list[Item | AtrousError]) -> Batch | AtrousError:
    """Stack channels-last pictures; the permuted tensor is what PyTorch calls `channels_last`."""
    good: list[Item] = []
    for item in items:
        if isinstance(item, AtrousError):
            return item
        good.append(item)
    inputs = {
        name: torch.from_numpy(np.stack([maps[name] for maps, _, _ in good])).permute(0, 3, 1, 2) for name in good[0][0]
    }
    mask = torch.from_numpy(np.stack([label_map for _, label_map, _ in good]).astype(np.int64))
    return Batch(inputs, mask, tuple(name for _, _, name in good))


def _prepare_worker(worker: int) -> None:
    """Workers share the cores with each other and with the training process, which alone hears Ctrl-C and its like."""
    if hasattr(os, "setsid"):
        os.setsid()  # signals to the group pass by; the training process can still end this one
    else:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def cache_allowance() -> int:
    """Bytes of memory that decoded images may take: a quarter of what is free, at most 4 GB; 1 GB where it is unknown."""
    free = available_memory()
    return 2**30 if free is None else min(free // 4, 4 * 2**30)
