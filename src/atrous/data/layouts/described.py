"""The data set that a data.yaml describes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from atrous.data.layouts.assembly import Part, SplitRule, assemble
from atrous.data.layouts.classes import Classes, summary
from atrous.data.layouts.data_file import DataFile, FolderPair, read_data_file
from atrous.data.layouts.folder import find_masks_beside
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.pairing import Pairing, pair_folders, pair_one_folder
from atrous.data.samples import SPLITS, Dataset
from atrous.errors import DataError

__all__ = ["DATA_FILE", "read_described"]

DATA_FILE = "data.yaml"


def read_described(file: Path, rule: SplitRule) -> Dataset:
    """Read the data set that the data.yaml `file` describes.

    A split is a folder of images, whose masks are looked for beside it, or `{images: DIR, masks: DIR}`. The file may
    name folders anywhere; symbolic links in them must not lead out of them.

    Raises DataError for faults in the file, folders that do not exist, and images without any mask.
    """
    described = read_data_file(file)
    root = _absolute(file.parent, described.path)
    tree = Tree(root)
    parts: dict[str, Part] = {}
    for name in SPLITS:
        place: str | FolderPair | None = getattr(described, name)
        if place is not None:
            parts[name] = _part(root, file, name, place, links=tree.left_out)
    mapped = {key: number for key, number in described.class_map.items() if key != number}
    notes = [f"Classes: {summary(described.labels)}, because {file.name} names them."]
    if mapped:
        shown = ", ".join(f"{key} -> {number}" for key, number in sorted(mapped.items()))
        notes.append(f"Mask values are mapped as {file.name} says: {shown}.")
    if described.groups is not None:
        notes.append(f"Groups: by the pattern {described.groups.pattern!r} of {file.name}.")
    dataset = assemble(
        tree,
        parts,
        layout="data.yaml",
        reason=f"{file.name} describes it",
        classes=Classes(labels=described.labels, class_map=mapped, notes=tuple(notes)),
        rule=rule,
        group_of=_group_rule(described, file),
    )
    return dataclasses.replace(dataset, bands=described.bands)


def _part(root: Path, file: Path, name: str, place: str | FolderPair, *, links: set[Path]) -> Part:
    images = _absolute(root, place if isinstance(place, str) else place.images)
    named = None if isinstance(place, str) or place.masks is None else _absolute(root, place.masks)
    for folder in filter(None, (images, named)):
        if not folder.is_dir():
            raise DataError(
                f"{file}: {name} names {folder}, which is not a folder; expected a folder of pictures. "
                "Correct the path: it is relative to `path`, and that to the file."
            )
    tree = Tree(images, left_out=links)
    if named is not None:
        return Part.of(_pair(images, named, links))
    masks = find_masks_beside(Tree(images.parent.parent), images)
    pairing = _pair(images, masks, links) if masks is not None else pair_one_folder(tree, images)
    if pairing.pairs:
        return Part.of(pairing)
    if name == "test":
        return Part(
            entries=[
                (path.relative_to(images).with_suffix("").as_posix(), path, None) for path in tree.pictures(images)
            ]
        )
    raise DataError(
        f"{file}: no masks were found for the images of {name} in {images}; expected them in a folder beside it "
        f"(masks, labels, annotations, {images.name}annot). Name it: {name}: {{images: ..., masks: ...}}."
    )


def _pair(images: Path, masks: Path, links: set[Path]) -> Pairing:
    """Pair two folders that may lie anywhere: links may lead from one into the other, and no further."""
    shared = next((parent for parent in (images, *images.parents) if masks.is_relative_to(parent)), images)
    return pair_folders(Tree(shared, left_out=links), images, masks)


def _group_rule(described: DataFile, file: Path) -> Callable[[str], str] | None:
    pattern = described.groups
    if pattern is None:
        return None

    def group_of(key: str) -> str:
        match = pattern.search(key)
        if match is None or match[1] is None:
            raise DataError(
                f"{file}: groups is {pattern.pattern!r}, which finds nothing in the image name {key!r}; "
                "expected a match in every name. Correct the pattern."
            )
        return match[1]

    return group_of


def _absolute(base: Path, text: str) -> Path:
    return (base / text).resolve()
