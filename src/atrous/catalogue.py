"""Published weights: what there is, what it fits, and where it belongs on this machine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from atrous.cache import cache_folder
from atrous.download import fetch, progress_text
from atrous.errors import DownloadError, WeightsError
from atrous.files import sha256_of
from atrous.labels import VOC, Labels
from atrous.preprocessing import Preprocessing

__all__ = [
    "PUBLISHED_WEIGHTS",
    "PublishedWeights",
    "find_by_name",
    "find_published",
    "locate",
    "obtain",
    "offline_message",
]

MAX_BYTES = 2**30  # four times the largest of these files


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """One file of published weights with what must not be parted from it."""

    file: str
    """Its name, which ends with the start of its SHA-256, as torchvision does it."""
    kind: Literal["network", "backbone"]
    fits: str
    """Name of the network or backbone whose weights these are."""
    score: float
    """In %; what of, says `measured_on`."""
    measured_on: str
    labels: Labels | None
    """Of a network; a backbone's classifier is not used."""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    licence: str = "BSD-3-Clause"
    megabytes: float | None = None
    """In units of 2**20 bytes, as torchvision counts them."""
    site: str = "https://download.pytorch.org/models"

    @property
    def address(self) -> str:
        """Where to fetch it."""
        return f"{self.site}/{self.file}"

    @property
    def hash_prefix(self) -> str:
        """The first 8 hexadecimal digits of the file's SHA-256."""
        return self.file.rpartition("-")[2].removesuffix(".pth")


# These networks were trained on COCO's images with VOC's classes; the score is not comparable with the papers' 77-80.
_COCO_SUBSET = "mIoU on COCO val2017 images with the 21 VOC classes, short side 520"
_IMAGENET = "top-1 accuracy on ImageNet-1K val"


def _network(name: str, file: str, score: float, megabytes: float) -> PublishedWeights:
    return PublishedWeights(
        file=file,
        kind="network",
        fits=name,
        score=score,
        measured_on=_COCO_SUBSET,
        labels=VOC,
        megabytes=megabytes,
    )


def _backbone(name: str, file: str, score: float) -> PublishedWeights:
    return PublishedWeights(file=file, kind="backbone", fits=name, score=score, measured_on=_IMAGENET, labels=None)


# torchvision's: COCO_WITH_VOC_LABELS_V1, and IMAGENET1K V2 (first, the better one) and V1.
PUBLISHED_WEIGHTS: tuple[PublishedWeights, ...] = (
    _network("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", 66.4, 160.515),
    _network("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth", 67.4, 233.217),
    _network("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large-fc3c493d.pth", 60.3, 42.301),
    _backbone("resnet18", "resnet18-f37072fd.pth", 69.76),
    _backbone("resnet34", "resnet34-b627a593.pth", 73.31),
    _backbone("resnet50", "resnet50-11ad3fa6.pth", 80.86),
    _backbone("resnet50", "resnet50-0676ba61.pth", 76.13),
    _backbone("resnet101", "resnet101-cd907fc2.pth", 81.89),
    _backbone("resnet101", "resnet101-63fe2227.pth", 77.37),
    _backbone("mobilenet_v2", "mobilenet_v2-7ebf99e0.pth", 72.15),
    _backbone("mobilenet_v2", "mobilenet_v2-b0353104.pth", 71.88),
    _backbone("mobilenet_v3_large", "mobilenet_v3_large-5c1a4163.pth", 75.27),
    _backbone("mobilenet_v3_large", "mobilenet_v3_large-8738ca79.pth", 74.04),
)


def find_published(network_name: str, *, kind: Literal["network", "backbone"] | None = None) -> PublishedWeights | None:
    """The published weights to start the network from: of the whole network where there are any, else of its backbone.

    `kind` asks for one of the two. The better of two files comes first. None where there is nothing.
    """
    backbone = network_name.partition("_")[2]
    for weights in PUBLISHED_WEIGHTS:
        if weights.fits == (network_name if weights.kind == "network" else backbone) and kind in (None, weights.kind):
            return weights
    return None


def find_by_name(name: str) -> PublishedWeights:
    """The published weights that `name` asks for: a file's name, a network's, or a backbone's.

    Raises:
        WeightsError: nothing of this name; lists the names.
    """
    for weights in PUBLISHED_WEIGHTS:
        if name == weights.file or (name == weights.fits and weights.kind == "backbone"):
            return weights
    found = find_published(name)
    if found is None:
        names = dict.fromkeys(weights.fits for weights in PUBLISHED_WEIGHTS)
        raise WeightsError(
            f"Nothing is published under the name {name!r}. Expected a network or a file that `atrous models` lists "
            f"(there are weights for {', '.join(names)}). Correct the name."
        )
    return found


def locate(weights: PublishedWeights) -> Path | None:
    """The file in the cache folder, its hash verified; None where it is not there.

    Raises:
        WeightsError: a file of this name that cannot be read or has another hash.
    """
    path = cache_folder() / weights.file
    try:
        if not path.exists():
            return None
        found = sha256_of(path)
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}). Expected the file that {weights.address} gives. "
            "Change its permissions, or remove it and fetch it again."
        ) from error
    if not found.startswith(weights.hash_prefix):
        raise WeightsError(
            f"{path} has the SHA-256 {found}. Expected one that begins with {weights.hash_prefix}: the file is damaged "
            f"or another. Remove it and fetch {weights.address} again."
        )
    return path


def obtain(
    weights: PublishedWeights,
    *,
    note: Callable[[str], None] | None = None,
    status: Callable[[Callable[[], str]], None] | None = None,
) -> Path:
    """The file in the cache folder, fetched if it is not there, its hash verified.

    Args:
        weights: an entry of `PUBLISHED_WEIGHTS`.
        note: hears that it is fetched, from where and to where.
        status: hears how far it is.

    Raises:
        WeightsError: it cannot be fetched (says file, address, hash, and where to put it); a damaged file in the cache.
        OutputError: it cannot be written into the cache folder.
    """
    path = locate(weights)
    if path is not None:
        return path
    if note is not None:
        size = "" if weights.megabytes is None else f", {weights.megabytes:.0f} MB"
        note(f"fetching {weights.address}{size} into {cache_folder()} (set ATROUS_CACHE to move it)")

    def progress(done: int, total: int | None) -> None:
        if status is not None:
            status(lambda: progress_text(weights.file, done, total))

    target = cache_folder() / weights.file
    try:
        return fetch(weights.address, target, hash_prefix=weights.hash_prefix, progress=progress, max_bytes=MAX_BYTES)
    except DownloadError as error:
        raise WeightsError(f"{weights.file} was not fetched: {error.found}. {offline_message(weights)}") from error


def offline_message(weights: PublishedWeights) -> str:
    """What to do where the file is not in the cache folder and there is no network."""
    size = "" if weights.megabytes is None else f"{weights.megabytes:.0f} MB, "
    return (
        f"{weights.file} ({weights.fits}, {weights.score} % {weights.measured_on}) is not in {cache_folder()}. "
        f"Fetch {weights.address} ({size}SHA-256 begins with {weights.hash_prefix}, licence {weights.licence}) and put "
        f"it at {cache_folder() / weights.file} (`atrous models --fetch {weights.fits}` does both where there is a "
        "network); or start from your own file with --weights FILE, or from random numbers with --weights none."
    )
