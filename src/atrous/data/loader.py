"""Training batches: which image comes when, read, augmented and put together, the same whatever process does it."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from atrous.data.masks import read_mask
from atrous.data.samples import Dataset, Sample
from atrous.errors import DataError
from atrous.images import read_image
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation, apply_view, draw_view

__all__ = ["Batch", "TrainingImages", "batches", "cache_allowance", "order", "read_pair"]

Pair = tuple[NDArray[np.uint8], NDArray[np.integer]]


@dataclass(frozen=True)
class Batch:
    """`image` (N, C, H, W) float32, channels last; `mask` (N, H, W) int64; `names` of the samples."""

    image: Tensor
    mask: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to `device`."""
        return Batch(self.image.to(device, non_blocking=True), self.mask.to(device, non_blocking=True), self.names)


def read_pair(sample: Sample, dataset: Dataset) -> Pair:
    """Read image (H, W, 3) uint8 and mask (H, W).

    Raises:
        DataError: a file is missing or unreadable, the mask has other values than classes, or the sizes differ.
    """
    if sample.mask is None:
        raise DataError(f"{sample.image}: has no mask. Run `atrous check {dataset.root}` to list every such file.")
    image = read_image(sample.image)
    mask = read_mask(sample.mask, labels=dataset.labels, class_map=dataset.class_map)
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{sample.mask}: mask is {mask.shape[0]}x{mask.shape[1]} but its image {image.shape[0]}x{image.shape[1]} "
            f"(height x width); they must be equal. Run `atrous check {dataset.root}` to list every such file."
        )
    return image, mask


class TrainingImages(TorchDataset[tuple[NDArray[np.float32], NDArray[np.integer], str]]):
    """Augmented views by (epoch, index); the view depends on (seed, epoch, sample name) alone.

    Decoded images are kept in memory up to `cache_bytes`.
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
    ) -> None:
        self.dataset = dataset
        self.samples = tuple(samples)
        self.augmentation = augmentation
        self.preprocessing = preprocessing
        self.seed = seed
        self.cache_bytes = cache_bytes
        self._cache: dict[int, Pair] = {}
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.integer], str]:
        """Return the view of sample `index` in `epoch`: image (H, W, C) float32, mask (H, W), name."""
        epoch, index = key
        sample = self.samples[index]
        image, mask = self._read(index)
        rng = np.random.default_rng([self.seed, epoch, zlib.crc32(sample.name.encode())])
        view = draw_view(self.augmentation, mask.shape, rng)
        ignore_index = self.dataset.labels.ignore_index
        pixels, label_map = apply_view(view, image, mask, preprocessing=self.preprocessing, ignore_index=ignore_index)
        return pixels, label_map, sample.name

    def _read(self, index: int) -> Pair:
        if index in self._cache:
            return self._cache[index]
        pair = read_pair(self.samples[index], self.dataset)
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
    images: TrainingImages, *, batch: int, start: int = 0, stop: int | None = None, workers: int = 0
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
        images,
        batch_sampler=keys,  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_one_thread if workers else None,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else it draws from the global numbers, and a resumed run would see others
    )
    yield from loader


def _collate(items: list[tuple[NDArray[np.float32], NDArray[np.integer], str]]) -> Batch:
    """Stack channels-last pictures; the permuted tensor is what PyTorch calls `channels_last`."""
    image = torch.from_numpy(np.stack([pixels for pixels, _, _ in items])).permute(0, 3, 1, 2)
    mask = torch.from_numpy(np.stack([label_map for _, label_map, _ in items]).astype(np.int64))
    return Batch(image, mask, tuple(name for _, _, name in items))


def _one_thread(worker: int) -> None:
    """Workers share the cores with each other and with the training process."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def cache_allowance() -> int:
    """Bytes of memory that decoded images may take: a quarter of what is free, at most 4 GB; 1 GB where it is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 2**30
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 2**32)
    return min(free // 4, 4 * 2**30)
