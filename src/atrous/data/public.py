"""Public data sets by name: fetched into the cache folder, unpacked there, and opened like any other folder."""

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atrous.archives import Place, unpack
from atrous.cache import cache_folder
from atrous.claims import claimed
from atrous.data.layouts import open_dataset
from atrous.data.layouts.assembly import Part, SplitRule, assemble
from atrous.data.layouts.classes import Classes, summary, text_lines
from atrous.data.layouts.listing import Tree
from atrous.data.samples import Dataset
from atrous.data.sbd import convert_masks, mask_place, require_scipy, train_ids
from atrous.data.split import VAL_SHARE
from atrous.download import fetch, progress_text
from atrous.errors import DataError, DownloadError, MissingExtraError
from atrous.files import TEMPORARY_PREFIX, make_folder, output_error
from atrous.labels import VOC

__all__ = ["PUBLIC_SETS", "open_data", "open_voc_with_extra_masks", "public_folder"]

PUBLIC_SETS = ("voc2012", "voc2012-aug")
EXTRA_MASKS = "SegmentationClassAug"
TRAINAUG_IMAGES = 10_582  # DeepLabv3 paper, section 4.1

Note = Callable[[str], None]
Status = Callable[[Callable[[], str]], None]


@dataclass(frozen=True, kw_only=True)
class PublicArchive:
    """An archive at its official address."""

    file: str
    address: str
    md5: str
    size: str


VOC_ARCHIVE = PublicArchive(
    file="VOCtrainval_11-May-2012.tar",
    address="https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    md5="6cd6e144f989b92b3379bac3b3de84fd",
    size="2.0 GB",
)
SBD_ARCHIVE = PublicArchive(
    file="benchmark.tgz",
    address="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
    md5="82b4d87ceb2ed10f6038a1cba92111cb",
    size="1.4 GB",
)
_VOC_ROOT = ("VOCdevkit", "VOC2012")
_VOC_PARTS = {"JPEGImages", "SegmentationClass", "ImageSets"}


def open_data(data: str | Path, *, note: Note | None = None, status: Status | None = None) -> Dataset:
    """Open the data that a user names: a folder, a data.yaml, or a public set in `PUBLIC_SETS`.

    A public set is fetched once, into the cache folder. A folder that has its name comes first.

    Args:
        data: the path or the name.
        note: hears what is fetched, and where to.
        status: hears how far it is.

    Raises:
        DataError: see `open_dataset`; a public set that cannot be fetched (says what to fetch, from where, its hash, and
            where to put it).
        MissingExtraError: `voc2012-aug` without scipy and without a folder SegmentationClassAug.
        OutputError: the cache folder cannot be written.
    """
    name = str(data)
    if name not in PUBLIC_SETS or Path(data).exists():
        if name in PUBLIC_SETS and note is not None:
            note(f"{name} is a folder here, so it is opened, and not the public set of that name.")
        return open_dataset(Path(data))
    job = _Job(note or _nothing, status or _nothing)
    if name == "voc2012":
        return open_dataset(job.voc())
    return open_voc_with_extra_masks(job.voc_with_extra_masks())


def public_folder() -> Path:
    """Where public sets are unpacked: `data` in the cache folder. It may not exist yet."""
    return cache_folder() / "data"


def open_voc_with_extra_masks(root: Path) -> Dataset:
    """Open a VOC folder that has a folder SegmentationClassAug: the papers' `trainaug`, and VOC's val.

    train are all images with an extra mask and VOC's train, without VOC's val. Images of VOC's train keep VOC's own mask.

    Raises DataError where a folder or a list is missing.
    """
    images, masks, extra = (root / name for name in ("JPEGImages", "SegmentationClass", EXTRA_MASKS))
    lists = {name: root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in ("train", "val")}
    for path in (images, masks, extra, *lists.values()):
        if not path.exists():
            raise DataError(
                f"{root} has no {path.relative_to(root).as_posix()}; expected PASCAL VOC 2012 with a folder {EXTRA_MASKS}. "
                f"Remove {root} and run again, or put the missing part there."
            )
    tree = Tree(root)
    found = {path.stem: path for path in tree.pictures(images, deep=False)}
    own = {path.stem: path for path in tree.pictures(masks, deep=False)}
    extras = {path.stem: path for path in tree.pictures(extra, deep=False)}
    train, val = (text_lines(lists[name]) for name in ("train", "val"))
    augmented = train_ids(extra=extras, voc_train=train, voc_val=val)
    best = {**extras, **{key: own[key] for key in train if key in own}}
    notes = [f"Classes: {summary(VOC)}: PASCAL VOC's.", f"Masks: {EXTRA_MASKS}/ for what is not in VOC's own train."]
    if len(augmented) != TRAINAUG_IMAGES:
        notes.append(f"train has {len(augmented)} images; the papers' trainaug has {TRAINAUG_IMAGES}.")
    return assemble(
        tree,
        {"train": _part(augmented, found, best), "val": _part(val, found, own)},
        layout="PASCAL VOC with extra masks",
        reason=f"it was asked for by name, and there is {EXTRA_MASKS}/",
        classes=Classes(labels=VOC, class_map={}, notes=tuple(notes)),
        rule=SplitRule(val_share=VAL_SHARE, seed=0),
        group_of=lambda key: f"JPEGImages/{key}",
    )


def _part(ids: list[str], images: dict[str, Path], masks: dict[str, Path]) -> Part:
    pairs = [(key, images[key], masks[key]) for key in ids if key in images and key in masks]
    lone = [(images.get(key) or masks.get(key)) for key in ids if (key in images) != (key in masks)]
    return Part(entries=pairs, unpaired=[path for path in lone if path is not None])


class _Job:
    """Fetching and unpacking, telling what it does."""

    def __init__(self, note: Note, status: Status) -> None:
        self._note = note
        self._status = status

    def voc(self) -> Path:
        """The folder VOC2012, made if it is not there."""
        root = public_folder() / "VOC2012"
        if not root.is_dir():
            make_folder(root.parent)
            with claimed(root) as is_mine:
                _require(is_mine, root)
                _remove_left_over(root.parent)
                if not root.is_dir():
                    self._unpacked(VOC_ARCHIVE, root, _voc_place)
        return root

    def voc_with_extra_masks(self) -> Path:
        """The folder VOC2012 with SegmentationClassAug in it, made if it is not there."""
        extra = public_folder() / "VOC2012" / EXTRA_MASKS
        if not extra.is_dir():
            self._require_scipy(extra)
        root = self.voc()
        if not extra.is_dir():
            with claimed(extra) as is_mine:
                _require(is_mine, extra)
                _remove_left_over(root)
                if not extra.is_dir():
                    self._convert(extra)
        return root

    def _convert(self, extra: Path) -> None:
        """Make `extra` from SBD's archive: it appears when all masks are in it."""
        work = extra.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            self._unpacked(SBD_ARCHIVE, work / "sbd", mask_place)
            files = sorted((work / "sbd").iterdir())
            self._note(f"writing {len(files)} masks of SBD as PNG into {extra}")
            convert_masks(files, work / "masks")
            _rename(work / "masks", extra)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _unpacked(self, archive: PublicArchive, folder: Path, place: Place) -> None:
        """Fetch an archive and unpack it into the new folder `folder`; one that was fetched here is not kept."""
        target = public_folder() / archive.file
        was_there = target.exists()
        self._fetch(archive, target)
        self._note(f"unpacking {target} into {folder}")
        unpack(
            target,
            folder,
            place=place,
            progress=lambda files: self._status(lambda: f"unpacking {archive.file}: {files} files"),
        )
        if not was_there:
            target.unlink(missing_ok=True)

    def _fetch(self, archive: PublicArchive, target: Path) -> None:
        if not target.exists():
            self._note(f"fetching {archive.address}, {archive.size}, to {target} (set ATROUS_CACHE to move it)")

        def progress(done: int, total: int | None) -> None:
            self._status(lambda: progress_text(archive.file, done, total))

        try:
            fetch(archive.address, target, md5=archive.md5, progress=progress)
        except DownloadError as error:
            raise DataError(
                f"{archive.file} was not fetched: {error.found}. Expected {archive.address} ({archive.size}, MD5 "
                f"{archive.md5}). Fetch it and put it at {target}; or, where you have it unpacked already, put a link to "
                f"the folder VOC2012 at {public_folder() / 'VOC2012'}."
            ) from error

    def _require_scipy(self, extra: Path) -> None:
        """Stop before gigabytes are fetched in vain."""
        try:
            require_scipy()
        except MissingExtraError as error:
            raise MissingExtraError(f"{error} Or put a folder {EXTRA_MASKS} with PNG masks at {extra}.") from error


def _voc_place(path: PurePosixPath) -> PurePosixPath | None:
    """Where a member of VOC's archive belongs: what segmentation needs, without the two folders around it."""
    inner = path.parts[2:]
    return PurePosixPath(*inner) if path.parts[:2] == _VOC_ROOT and inner and inner[0] in _VOC_PARTS else None


def _require(is_mine: bool, folder: Path) -> None:
    if not is_mine:
        raise DataError(
            f"Another process is making {folder} just now. Expected to be the only one, because it takes gigabytes. "
            "Run again when it is done; or, where there is none, set ATROUS_CACHE to a folder on a disk of this machine: "
            "this one knows no locks."
        )


def _remove_left_over(folder: Path) -> None:
    """Remove what a killed process was unpacking: with the claim, nobody else unpacks here."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise output_error(new, error) from error


def _nothing(text: object) -> None:
    del text
