"""The PASCAL VOC layout: JPEGImages, SegmentationClass, and lists of names in ImageSets/Segmentation."""

import re
from pathlib import Path

from atrous.data.layouts.assembly import Part, SplitRule, assemble
from atrous.data.layouts.classes import Classes, read_names, summary, text_lines
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.pairing import pair_folders
from atrous.data.samples import Dataset
from atrous.errors import DataError
from atrous.labels import VOC, Colour, Labels

__all__ = ["read_voc"]

_LISTS = ("train", "val", "test", "trainval")
_LABELMAP_LINE = re.compile(r"(?P<name>[^:]+):(?P<colour>[0-9]{1,3},[0-9]{1,3},[0-9]{1,3})?(?::.*)?")


def read_voc(tree: Tree, rule: SplitRule) -> Dataset | None:
    """Recognise a folder with JPEGImages and SegmentationClass; None for another.

    The classes are VOC's 21, unless labelmap.txt (CVAT's export) or a list of names says otherwise. Without lists in
    ImageSets/Segmentation, or with trainval.txt alone, all images with a mask are parted by `rule`.

    Raises DataError for lists that name nothing, or a list of classes that cannot be read.
    """
    images, masks = tree.root / "JPEGImages", tree.root / "SegmentationClass"
    if not (images.is_dir() and masks.is_dir()):
        return None
    lists = {name: tree.root / "ImageSets" / "Segmentation" / f"{name}.txt" for name in _LISTS}
    lists = {name: path for name, path in lists.items() if path.is_file()}
    if "train" in lists or "val" in lists:
        lists.pop("trainval", None)
    parts = _listed(tree, images, masks, lists)
    reason = "there are JPEGImages/ and SegmentationClass/"
    if parts:
        reason += f", and lists in ImageSets/Segmentation/ ({', '.join(path.name for path in lists.values())})"
    else:
        pairing = pair_folders(tree, images, masks)
        # photographs without a mask are the rule in VOC (detection uses them); masks without a photograph are not
        parts = {"train": Part(entries=pairing.pairs, unpaired=pairing.lone_masks)}
    return assemble(
        tree, parts, layout="PASCAL VOC", reason=reason, classes=_classes(tree.root), rule=rule, group_of=_own_group
    )


def _listed(tree: Tree, images: Path, masks: Path, lists: dict[str, Path]) -> dict[str, Part]:
    """The parts that the lists name; an entry without image or mask is left unpaired, with the path that is missing."""
    image_files = {path.stem: path for path in tree.pictures(images, deep=False)} if lists else {}
    mask_files = {path.stem: path for path in tree.pictures(masks, deep=False)} if lists else {}
    parts: dict[str, Part] = {}
    for name, path in lists.items():
        entries: list[tuple[str, Path, Path | None]] = []
        unpaired: list[Path] = []
        listed = list(dict.fromkeys(line.split()[0] for line in text_lines(path)))
        if not listed:
            raise DataError(f"{path} is empty; expected one image name a line. Fill it, or remove the file.")
        unlabelled = name == "test" and not any(key in mask_files for key in listed)
        for key in listed:
            image, mask = image_files.get(key), mask_files.get(key)
            if image is None:
                unpaired.append(images / f"{Path(key).name}.jpg")
            elif mask is None and not unlabelled:
                unpaired.append(image)
            else:
                entries.append((key, image, mask))
        parts["train" if name == "trainval" else name] = Part(entries=entries, unpaired=unpaired)
    return parts


def _own_group(key: str) -> str:
    """Every image for itself: what precedes `_` in VOC's names (2007_000032) is a year, not a sequence."""
    return f"JPEGImages/{key}"


def _classes(root: Path) -> Classes:
    labelmap = root / "labelmap.txt"
    listed = read_names(root)
    if labelmap.is_file():
        labels = _labelmap(labelmap)
        note = f"Classes: {summary(labels)}, because labelmap.txt lists them."
    elif listed is not None:
        labels = Labels(names=listed[0], ignore_index=255 if len(listed[0]) <= 255 else 65535)
        note = f"Classes: {summary(labels)}, because {listed[1].name} lists them."
    else:
        labels = VOC
        note = (
            f"Classes: {summary(labels)}: PASCAL VOC's, because no labelmap.txt or labels.txt names others. "
            "List yours in labels.txt, one a line, if they differ."
        )
    return Classes(labels=labels, class_map={}, notes=(note,))


def _labelmap(path: Path) -> Labels:
    """CVAT's labelmap.txt: `name:r,g,b:parts:actions` a line, comments after `#`; the order gives the class numbers."""
    lines = [line for line in text_lines(path) if not line.startswith("#")]
    matches = [_LABELMAP_LINE.fullmatch(line) for line in lines]
    if not lines or None in matches:
        bad = next((line for line, match in zip(lines, matches, strict=True) if match is None), "no line")
        raise DataError(f"{path} holds {bad!r}; expected lines such as 'road:128,64,128::'. Correct the file.")
    names = [match["name"].strip() for match in matches if match is not None]
    colours = [_colour(match["colour"]) for match in matches if match is not None]
    if len(set(names)) < len(names):
        raise DataError(f"{path} names a class twice; expected every class once. Correct the file.")
    palette = tuple(colour for colour in colours if colour is not None)
    return Labels(names=tuple(names), palette=palette if len(palette) == len(names) else ())


def _colour(text: str | None) -> Colour | None:
    if text is None:
        return None
    red, green, blue = (min(int(part), 255) for part in text.split(","))
    return red, green, blue
