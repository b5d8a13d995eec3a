"""Folders of images and masks: flat, or one pair of folders per split, by the names that people give them."""

import re
from pathlib import Path

from atrous.data.layouts.assembly import Part, SplitRule, assemble
from atrous.data.layouts.classes import classes_from_masks
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.pairing import Pairing, pair_folders, pair_one_folder
from atrous.data.samples import Dataset
from atrous.errors import DataError

__all__ = ["find_masks_beside", "find_pair", "is_mask_folder", "read_folder", "split_folders"]

_IMAGE_FOLDERS = (
    "images", "image", "imgs", "img", "jpegimages", "pngimages", "photos", "pictures", "frames", "inputs", "rgb", "x"
)  # fmt: skip
_MASK_FOLDER = re.compile(
    r"(?:.*[_\- ])?(?:masks?|labels?|annotations?|annots?|gts?|ground_?truths?|targets?|y"
    r"|segmentations?|segmentationclass)",
    re.IGNORECASE,
)
_MASK_ORDER = ("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "y")
_SPLIT_NAMES = {
    "train": re.compile(r"train(?:ing)?(?:\d{4})?", re.IGNORECASE),
    "val": re.compile(r"(?:val|valid|validation|dev)(?:\d{4})?", re.IGNORECASE),
    "test": re.compile(r"test(?:ing)?(?:\d{4})?", re.IGNORECASE),
}
_BESIDE = ("annot", "_annot", "_mask", "_masks", "_label", "_labels", "_gt", "masks", "labels")


def read_folder(tree: Tree, rule: SplitRule) -> Dataset | None:
    """Recognise folders of images and masks; None where nothing like it is there.

    Looked for in this order: folders per split with images and masks inside, beside (`train` and `trainannot`) or mixed
    (`a.jpg` and `a_mask.png`); `images` and `masks`, with the same splits inside both, or without; one mixed folder.

    Raises DataError where the layout is plain but the data cannot be used.
    """
    for find in (_per_split, _two_folders, _mixed):
        found = find(tree)
        if found is None:
            continue
        reason, pairings = found
        masks = [mask for pairing in pairings.values() for _, _, mask in pairing.pairs]
        if not masks:
            raise _unmatched(tree, reason, pairings)
        notes = [
            f"Masks of {name} are paired by this rule: {pairing.rule}."
            for name, pairing in pairings.items()
            if pairing.pairs and pairing.rule != "same name"
        ]
        parts = {
            name: _unlabelled(pairing) if name == "test" and not pairing.pairs else Part.of(pairing)
            for name, pairing in pairings.items()
        }
        classes = classes_from_masks(masks, root=tree.root)
        return assemble(tree, parts, layout="folder", reason=reason, classes=classes, rule=rule, notes=notes)
    return None


def split_folders(tree: Tree, folder: Path) -> dict[str, Path]:
    """Return the folders in `folder` that are named after a split, as split -> folder."""
    found: dict[str, Path] = {}
    for path in tree.folders(folder):
        for name, pattern in _SPLIT_NAMES.items():
            if pattern.fullmatch(path.name):
                found.setdefault(name, path)
    return found


def find_pair(tree: Tree, folder: Path) -> tuple[Path, Path] | None:
    """Find a folder of images and one of masks in `folder`, by their names; both must hold pictures."""
    inside = [path for path in tree.folders(folder) if tree.holds_pictures(path)]
    images = [path for name in _IMAGE_FOLDERS for path in inside if path.name.lower() == name]
    masks = sorted(
        (path for path in inside if _MASK_FOLDER.fullmatch(path.name) and path not in images), key=_mask_preference
    )
    return (images[0], masks[0]) if images and masks else None


def is_mask_folder(tree: Tree, folder: Path) -> bool:
    """Whether the folder has a name for masks and holds pictures."""
    return _MASK_FOLDER.fullmatch(folder.name) is not None and tree.holds_pictures(folder)


def find_masks_beside(tree: Tree, images: Path) -> Path | None:
    """Find the mask folder for a folder of images by its name.

    `x/images/train` has `x/masks/train` (or labels, annotations, ...), `x/train` has `x/trainannot` or `x/train_masks`,
    `x/images` has `x/masks`.
    """
    for ending in _BESIDE:
        beside = images.with_name(images.name + ending)
        if beside.is_dir() and tree.holds_pictures(beside):
            return beside
    for level, part in enumerate((images, *images.parents)):
        if level > 1 or not part.parent.is_dir():
            break
        if part.name.lower() not in _IMAGE_FOLDERS:
            continue
        for candidate in sorted(tree.folders(part.parent), key=_mask_preference):
            masks = candidate / images.relative_to(part)
            if _MASK_FOLDER.fullmatch(candidate.name) and masks.is_dir() and tree.holds_pictures(masks):
                return masks
    return None


_Found = tuple[str, dict[str, Pairing]]


def _per_split(tree: Tree) -> _Found | None:
    pairings: dict[str, Pairing] = {}
    reasons: list[str] = []
    for name, folder in split_folders(tree, tree.root).items():
        inside = find_pair(tree, folder)
        beside = find_masks_beside(tree, folder) if inside is None else None
        if inside is not None:
            pairings[name] = pair_folders(tree, *inside)
            reasons.append(f"{folder.name}/ holds {inside[0].name}/ and {inside[1].name}/")
        elif beside is not None:
            pairings[name] = pair_folders(tree, folder, beside)
            reasons.append(f"{folder.name}/ has its masks in {beside.name}/")
        else:
            pairings[name] = pair_one_folder(tree, folder)
            if pairings[name].pairs:
                reasons.append(f"{folder.name}/ holds images and masks")
    return (", ".join(reasons), pairings) if reasons else None


def _two_folders(tree: Tree) -> _Found | None:
    found = find_pair(tree, tree.root)
    if found is None:
        return None
    images, masks = found
    image_splits, mask_splits = split_folders(tree, images), split_folders(tree, masks)
    if "train" in image_splits and "train" in mask_splits:
        pairings = {
            name: pair_folders(tree, folder, mask_splits[name])
            if name in mask_splits
            else Pairing(lone_images=tuple(tree.pictures(folder)))
            for name, folder in image_splits.items()
        }
        return f"{images.name}/ and {masks.name}/ hold the same splits ({', '.join(pairings)})", pairings
    others = [path.name for path in tree.folders(tree.root) if path not in found and is_mask_folder(tree, path)]
    unused = f" ({', '.join(others)} not used)" if others else ""
    return f"there are {images.name}/ and {masks.name}/{unused}", {"train": pair_folders(tree, images, masks)}


def _mixed(tree: Tree) -> _Found | None:
    pairing = pair_one_folder(tree, tree.root)
    return ("images and masks lie side by side in one folder", {"train": pairing}) if pairing.pairs else None


def _unmatched(tree: Tree, reason: str, pairings: dict[str, Pairing]) -> DataError:
    images = [path.name for pairing in pairings.values() for path in pairing.lone_images]
    masks = [path.name for pairing in pairings.values() for path in pairing.lone_masks]
    return DataError(
        f"{tree.root}: {reason}, with {len(images)} images ({', '.join(images[:3])}, ...) and {len(masks)} masks "
        f"({', '.join(masks[:3])}, ...), but no mask has the name of an image; expected the same name, or one with an "
        "ending such as _mask. Rename the masks."
    )


def _unlabelled(pairing: Pairing) -> Part:
    """A test split without any mask is one to predict, not one with faults."""
    entries = [(path.stem, path, None) for path in pairing.lone_images]
    return Part(entries=entries, unpaired=pairing.lone_masks)


def _mask_preference(folder: Path) -> tuple[int, str]:
    name = folder.name.lower()
    return (_MASK_ORDER.index(name) if name in _MASK_ORDER else len(_MASK_ORDER)), name
