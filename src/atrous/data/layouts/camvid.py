"""CamVid as SegNet published it: train, trainannot, val, valannot, test, testannot, with index masks and void 11."""

import re
from pathlib import Path, PurePosixPath

from atrous.data.layouts.assembly import Part, SplitRule, assemble
from atrous.data.layouts.classes import Classes, read_names, scan_masks, summary
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.pairing import Pairing, pair_folders
from atrous.data.samples import SPLITS, Dataset
from atrous.labels import CAMVID

__all__ = ["read_camvid"]

_VOID = 11  # what the masks of SegNet's CamVid hold for pixels without class
_DRIVE = re.compile(r"(?:0001TP|0006R0|0016E5|Seq05VD)_.+")  # CamVid's four drives
_SAMPLED_MASKS = 12


def read_camvid(tree: Tree, rule: SplitRule) -> Dataset | None:
    """Recognise CamVid; None for another folder, also one of the same shape with other classes.

    It is CamVid where the masks that are looked at hold 0-11 (and 255) alone and the images are named after CamVid's
    drives or the void value 11 occurs, and no list of names says otherwise. Groups are the drives.

    Raises DataError for pictures that share a name.
    """
    folders = {name: (tree.root / name, tree.root / f"{name}annot") for name in SPLITS}
    pairings = {
        name: pair_folders(tree, images, masks)
        for name, (images, masks) in folders.items()
        if images.is_dir() and masks.is_dir()
    }
    masks = [mask for pairing in pairings.values() for _, _, mask in pairing.pairs]
    if "train" not in pairings or not masks or read_names(tree.root) is not None or not _fits(pairings, masks):
        return None
    names = ", ".join(f"{name}/ with {name}annot/" for name in pairings)
    notes = (
        f"Classes: {summary(CAMVID)}: CamVid's, whose masks hold {_VOID} for void. "
        "If they are yours, list their names in classes.txt.",
        "Groups: the drives, which file names begin with.",
    )
    return assemble(
        tree,
        {name: Part.of(pairing) for name, pairing in pairings.items()},
        layout="CamVid",
        reason=f"there are {names}, and {min(len(masks), _SAMPLED_MASKS)} masks that were looked at hold 0-{_VOID}",
        classes=Classes(labels=CAMVID, class_map={_VOID: CAMVID.ignore_index}, notes=notes),
        rule=rule,
        group_of=_drive,
    )


def _drive(key: str) -> str:
    """The drive in a frame's name: 0001TP of 0001TP_006690."""
    return PurePosixPath(key).name.rpartition("_")[0] or key


def _fits(pairings: dict[str, Pairing], masks: list[Path]) -> bool:
    values = scan_masks(masks, limit=_SAMPLED_MASKS)
    keys = [PurePosixPath(key).name for pairing in pairings.values() for key, _, _ in pairing.pairs]
    if not values.masks or not values.masks.keys() <= {*range(_VOID + 1), CAMVID.ignore_index}:
        return False
    return _VOID in values.masks or all(_DRIVE.fullmatch(key) for key in keys)
