"""What is wrong with a data set: every file is read once, every fault is listed, and nothing stops the list.

D001 error    an image without mask, a mask without image, a listed file that does not exist
D002 error    an image that cannot be read
D003 error    a mask that cannot be read as class numbers
D004 error    an image and a mask of different sizes
D005 error    mask values that are no class
D006 warning  a mask that is all void
D007 warning  a class that is absent from train or from val
D008 warning  groups (sequences, patients) that are in two splits
D009 error    an image whose bands or number type differ from the others'
D010 warning  an image with pixels that are no numbers: NaN, infinity
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atrous.data.findings import AuditResult, Finding, SplitSummary
from atrous.data.masks import class_numbers, expected_values, foreign_values
from atrous.data.pixels import as_read, other_kind
from atrous.data.reading import file_sizes, read_pixels, read_values
from atrous.data.samples import Dataset, Sample
from atrous.errors import ImageError
from atrous.images import UnreadableError

__all__ = ["AuditResult", "Finding", "SplitSummary", "audit"]

_WORKERS = 4
_BATCH = 64
"""Samples in flight at once: enough to keep the workers busy, few enough to hold memory flat."""


def audit(dataset: Dataset, *, workers: int = _WORKERS) -> AuditResult:
    """Read every image and mask of `dataset` and list everything that is wrong.

    Faults of files are findings, never exceptions. Files are decoded by `workers` threads; memory does not grow with
    the number of samples beyond a few hundred bytes each.
    """
    mask_folders = _mask_folders(dataset)
    findings = [_unpaired(dataset, path, mask_folders) for path in dataset.unpaired]
    splits: dict[str, SplitSummary] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for name, samples in dataset.splits.items():
            tally = _Tally(num_classes=dataset.labels.num_classes)
            for reading in _readings(pool, dataset, samples):
                findings.extend(reading.findings)
                tally.add(reading)
            splits[name] = tally.summary()
    findings.extend(_absent_classes(dataset, splits))
    findings.extend(_shared_groups(dataset))
    findings = dict.fromkeys(findings)  # windows of one file share its faults
    return AuditResult(dataset=dataset, findings=tuple(sorted(findings, key=lambda item: item.code)), splits=splits)


@dataclass
class _Reading:
    """What one sample gave: its size, the pixels of every class with void last (None if unusable), its faults."""

    size: tuple[int, int] | None = None
    pixels: NDArray[np.int64] | None = None
    has_mask: bool = True
    missing: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])


@dataclass
class _Tally:
    num_classes: int
    images: int = 0
    without_mask: int = 0
    missing_pixels: int = 0
    missing_images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])

    def __post_init__(self) -> None:
        self.pixels = np.zeros(self.num_classes + 1, np.int64)
        self.presence: list[NDArray[np.bool_]] = []

    def add(self, reading: _Reading) -> None:
        self.images += 1
        self.without_mask += not reading.has_mask
        self.missing_pixels += reading.missing
        self.missing_images += reading.missing > 0
        if reading.size is not None:
            self.sizes[reading.size] += 1
        if reading.pixels is not None:
            self.pixels += reading.pixels
        found = np.zeros(self.num_classes, np.bool_) if reading.pixels is None else reading.pixels[:-1] > 0
        self.presence.append(found)

    def summary(self) -> SplitSummary:
        presence = np.array(self.presence, np.bool_).reshape(-1, self.num_classes)
        return SplitSummary(
            images=self.images,
            without_mask=self.without_mask,
            sizes=self.sizes,
            class_pixels=tuple(self.pixels[:-1].tolist()),
            class_images=tuple(presence.sum(axis=0).tolist()),
            void_pixels=int(self.pixels[-1]),
            presence=presence,
            missing_pixels=self.missing_pixels,
            missing_images=self.missing_images,
        )


def _readings(pool: ThreadPoolExecutor, dataset: Dataset, samples: Sequence[Sample]) -> Iterator[_Reading]:
    for start in range(0, len(samples), _BATCH):
        yield from pool.map(lambda sample: _read(dataset, sample), samples[start : start + _BATCH])


def _read(dataset: Dataset, sample: Sample) -> _Reading:
    reading = _Reading(has_mask=sample.mask is not None)
    if sample.window is not None and not _fits(dataset, sample, reading):
        return reading
    try:
        _read_image(dataset, sample, reading)
    except ImageError as error:
        reading.findings.append(_unreadable("D002", dataset, sample.image, error))
    if sample.mask is None:
        return reading
    try:
        raw = read_values(sample.mask, sample.window)
    except ImageError as error:
        reading.findings.append(_unreadable("D003", dataset, sample.mask, error))
        return reading
    if reading.size is not None and raw.shape != reading.size:
        reading.findings.append(_sizes_differ(dataset, sample, sample.mask, reading.size, raw.shape))
    _count(dataset, sample, sample.mask, raw, reading)
    return reading


def _fits(dataset: Dataset, sample: Sample, reading: _Reading) -> bool:
    """Whether the whole files, of which a window is to be read, are of one size; else lists the fault."""
    if sample.mask is None:
        return True
    try:
        image_size, mask_size = file_sizes(sample.image, sample.mask)
    except ImageError:
        return True  # reading them tells which
    if image_size != mask_size:
        reading.findings.append(_sizes_differ(dataset, sample, sample.mask, image_size, mask_size))
    return image_size == mask_size


def _read_image(dataset: Dataset, sample: Sample, reading: _Reading) -> None:
    """Note an image's size, and what differs in it from the data set's pixels.

    Raises:
        ImageError: it cannot be read.
    """
    path = sample.image
    other = other_kind(path, dataset)
    if other is not None:
        can_be_rgb = {other.bands, dataset.pixels.bands} <= {1, 3}
        reading.findings.append(
            Finding(
                code="D009",
                severity="error",
                file=_relative(dataset, path),
                found=str(other),
                expected=f"{dataset.pixels}, as the other images",
                fix="Convert it, or leave it out."
                + (" `bands: rgb` in a data.yaml reads all images as RGB in 8 bits." if can_be_rgb else ""),
            )
        )
        return
    reads = as_read(dataset.pixels)
    image = read_pixels(path, reads, sample.window)
    reading.size = (image.shape[0], image.shape[1])
    missing = reads.missing(image) if image.dtype == np.float32 else None
    if missing is not None:
        reading.missing = int(np.count_nonzero(missing))
        y, x = divmod(int(np.argmax(missing)), missing.shape[1])
        reading.findings.append(
            Finding(
                code="D010",
                severity="warning",
                file=_relative(dataset, path),
                place=f"y={y}, x={x}",
                found=f"NaN, infinity or the file's nodata in {reading.missing} of {missing.size} pixels",
                expected="numbers",
                fix="Nothing is learned or measured there: the mask counts as void, and the image as the mean colour.",
            )
        )


def _count(
    dataset: Dataset, sample: Sample, mask: Path, raw: NDArray[np.uint8] | NDArray[np.uint16], reading: _Reading
) -> None:
    """Count the classes of one raw mask (H, W), or list its foreign values."""
    labels = dataset.labels
    numbers = class_numbers(raw, labels=labels, class_map=dataset.class_map)
    if numbers is None:
        for value in foreign_values(raw, labels=labels, class_map=dataset.class_map, window=sample.window):
            reading.findings.append(
                Finding(
                    code="D005",
                    severity="error",
                    file=_relative(dataset, mask),
                    place=f"y={value.first[0]}, x={value.first[1]}",
                    found=f"value {value.value} in {value.pixels} of {raw.size} pixels",
                    expected=expected_values(labels, dataset.class_map),
                    fix="Correct the mask, or say in a data.yaml's `classes:` which class the value is (or ignore).",
                )
            )
        return
    counts = np.bincount(numbers.ravel(), minlength=max(labels.num_classes, labels.ignore_index + 1))
    reading.pixels = np.append(counts[: labels.num_classes], counts[labels.ignore_index])
    if reading.pixels[-1] == raw.size:
        reading.findings.append(
            Finding(
                code="D006",
                severity="warning",
                file=_relative(dataset, mask),
                found=f"all {raw.size} pixels{' of a window' if sample.window else ''} are void",
                expected="some pixels with a class",
                fix="Label the image, or leave it out: nothing can be learned or measured on it.",
            )
        )


def _sizes_differ(
    dataset: Dataset, sample: Sample, mask: Path, image_size: tuple[int, int], mask_size: tuple[int, ...]
) -> Finding:
    turned = mask_size == image_size[::-1]
    return Finding(
        code="D004",
        severity="error",
        file=_relative(dataset, mask),
        found=f"the mask is {mask_size[0]} x {mask_size[1]} (height x width), its image "
        f"{_relative(dataset, sample.image)} is {image_size[0]} x {image_size[1]}"
        + (": one of them is on its side" if turned else ""),
        expected="the same size",
        fix="Turn the mask as the image is shown." if turned else "Export the mask again at the size of its image.",
    )


def _unreadable(code: str, dataset: Dataset, path: Path, error: ImageError) -> Finding:
    fault = error.fault if isinstance(error, UnreadableError) else UnreadableError(str(error)).fault
    return Finding(
        code=code,
        severity="error",
        file=_relative(dataset, path),
        found=fault.found,
        expected=fault.expected,
        fix=fault.fix,
    )


def _mask_folders(dataset: Dataset) -> set[Path]:
    samples = [sample for part in dataset.splits.values() for sample in part]
    return {sample.mask.parent for sample in samples if sample.mask is not None} - {
        sample.image.parent for sample in samples
    }


def _unpaired(dataset: Dataset, path: Path, mask_folders: set[Path]) -> Finding:
    if not path.exists():
        found, fix = "does not exist, but a list names it", "Restore the file, or take its name off the list."
    elif path.parent in mask_folders:
        found, fix = "a mask without image", "Add the image with the same name, or remove the mask."
    else:
        found, fix = "an image without mask", "Add the mask with the same name, or remove the image."
    return Finding(
        code="D001",
        severity="error",
        file=_relative(dataset, path),
        found=found,
        expected="an image and a mask of the same name",
        fix=fix,
    )


def _absent_classes(dataset: Dataset, splits: dict[str, SplitSummary]) -> Iterator[Finding]:
    for name in ("train", "val"):
        if name not in splits or not any(splits[name].class_pixels):
            continue  # without any class there is one cause, told elsewhere
        absent = [dataset.labels.names[index] for index, count in enumerate(splits[name].class_pixels) if count == 0]
        use = "cannot be learned" if name == "train" else "cannot be measured"
        if absent:
            yield Finding(
                code="D007",
                severity="warning",
                file=name,
                found=f"no pixel of {', '.join(absent)} in the masks of {name}",
                expected="every class in train and in val",
                fix=f"Add such images; until then {'this class' if len(absent) == 1 else 'these classes'} {use}.",
            )


def _shared_groups(dataset: Dataset) -> Iterator[Finding]:
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for name, samples in dataset.splits.items():
        for sample in samples:
            members[sample.group][name] += 1
    for first, second in combinations(dataset.splits, 2):
        shared = {group: counts for group, counts in members.items() if counts[first] and counts[second]}
        if not shared:
            continue
        largest = sorted(shared, key=lambda group: (-shared[group].total(), group))[:3]
        shown = ", ".join(f"{group} ({shared[group][first]} and {shared[group][second]} images)" for group in largest)
        yield Finding(
            code="D008",
            severity="warning",
            file=f"{first} and {second}",
            found=f"{len(shared)} group{'s'[: len(shared) > 1]} in both: {shown}{', ...' if len(shared) > 3 else ''}",
            expected="every group in one split only",
            fix=f"Move each group to one side; else scores on {second} are optimistic.",
        )


def _relative(dataset: Dataset, path: Path) -> str:
    return path.relative_to(dataset.root).as_posix() if path.is_relative_to(dataset.root) else path.as_posix()
