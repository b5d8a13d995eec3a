"""The last step that all layouts share: names, groups, the missing split, and the sentences for the user."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atrous.data.layouts.classes import Classes
from atrous.data.layouts.listing import Tree
from atrous.data.layouts.pairing import Pairing
from atrous.data.samples import SPLITS, Dataset, Sample
from atrous.data.split import natural_key, sequence_groups, split_by_group
from atrous.data.windows import cut_large, leave_gap
from atrous.errors import DataError

__all__ = ["Part", "SplitRule", "assemble", "example_names"]


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How train and val are parted where the data does not say."""

    val_share: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one split consists of: (key, image, mask) triples and the files without partner.

    The key is the image's name within its folder, without suffix: sequences and groups are found in it.
    """

    entries: Sequence[tuple[str, Path, Path | None]]
    unpaired: Sequence[Path] = field(default=())

    @classmethod
    def of(cls, pairing: Pairing) -> "Part":
        """The part that a pairing gives."""
        return cls(entries=pairing.pairs, unpaired=(*pairing.lone_images, *pairing.lone_masks))


def assemble(
    tree: Tree,
    parts: Mapping[str, Part],
    *,
    layout: str,
    reason: str,
    classes: Classes,
    rule: SplitRule,
    group_of: Callable[[str], str] | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Build the data set; without a val split, train is parted by `rule`.

    `group_of` gives the group for a key; without it, sequences are looked for in the keys, and where there are none
    every image is its own group.

    Raises DataError where there is no pair at all.
    """
    groups, group_note = _grouping([key for part in parts.values() for key, _, _ in part.entries], group_of)
    splits = {
        name: tuple(
            Sample(name=own, image=image, mask=mask, group=groups.get(key, own))
            for key, image, mask in parts[name].entries
            for own in [sample_name(image, tree.root)]
        )
        for name in SPLITS
        if name in parts
    }
    splits = {name: samples for name, samples in splits.items() if samples}
    if not any(sample.mask is not None for samples in splits.values() for sample in samples):
        raise DataError(
            f"{tree.root} was recognised as {layout}, but no image has a mask; expected masks named like their images. "
            f"{example_names([path for part in parts.values() for path in part.unpaired], tree.root)}"
            "Rename the masks, or name the folders in a data.yaml."
        )
    told = [f"Layout: {layout}, because {reason}."]
    split_note = gap_note = ""
    parts_train = "train" in splits and "val" not in splits
    cut = cut_large(splits, labels=classes.labels, class_map=classes.class_map, parts_train=parts_train)
    splits = cut.splits
    if parts_train:
        train, val, split_note = split_by_group(splits["train"], val_share=rule.val_share, seed=rule.seed)
        train, gap_note = leave_gap(train, val)
        splits = {"train": train, "val": val, **{name: splits[name] for name in splits if name != "train"}}
        splits = {name: samples for name, samples in splits.items() if samples}
    told.append("Pairs: " + ", ".join(_counted(name, samples) for name, samples in splits.items()) + ".")
    told.extend([*classes.notes, *notes, *filter(None, (group_note, cut.note, split_note, gap_note))])
    unpaired = tuple(path for part in parts.values() for path in part.unpaired)
    told.extend(_left_out(unpaired, tree))
    return Dataset(
        root=tree.root,
        layout=layout,
        labels=classes.labels,
        splits=splits,
        class_map=classes.class_map,
        notes=tuple(told),
        unpaired=unpaired,
    )


def sample_name(image: Path, root: Path) -> str:
    """The image's path from `root` without suffix, with `/` on every machine."""
    return Path(os.path.relpath(image.with_suffix(""), root)).as_posix()


def example_names(paths: Sequence[Path], root: Path) -> str:
    """A sentence with the first files, empty for no file."""
    return f"Found: {_shown(paths, root)}. " if paths else ""


def _left_out(unpaired: Sequence[Path], tree: Tree) -> Iterator[str]:
    """Sentences for the files that are not used."""
    if unpaired:
        yield (
            f"{len(unpaired)} file{'s'[: len(unpaired) > 1]} without partner left out: "
            f"{_shown(unpaired, tree.root)}. Run `atrous check DIR` to list them all."
        )
    if tree.left_out:
        yield (
            f"{len(tree.left_out)} symbolic link{'s'[: len(tree.left_out) > 1]} not followed: "
            f"{_shown(sorted(tree.left_out), tree.root)}. Links must stay inside the data folder."
        )


def _shown(paths: Sequence[Path], root: Path) -> str:
    names = [path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path) for path in paths[:3]]
    return ", ".join(names) + (f" and {len(paths) - 3} more" if paths[3:] else "")


def _counted(name: str, samples: Sequence[Sample]) -> str:
    without = sum(sample.mask is None for sample in samples)
    return f"{name} {len(samples)}" + (f" ({without} without mask)" if without else "")


def _grouping(keys: Sequence[str], group_of: Callable[[str], str] | None) -> tuple[dict[str, str], str]:
    """The groups by key, for the keys that have one, and what to tell the user."""
    if group_of is not None:
        return {key: group_of(key) for key in keys}, ""
    sequences = sequence_groups(keys)
    if not sequences:
        return {}, "Groups: every image is its own, because the file names name no sequences."
    names = sorted(set(sequences.values()), key=natural_key)
    shown = ", ".join(names[:4]) + (", ..." if names[4:] else "")
    note = (
        f"Groups: {len(names)} ({shown}), because the file names look like sequence and frame number; "
        "frames of one sequence stay together. `groups:` in a data.yaml sets another rule."
    )
    return sequences, note
