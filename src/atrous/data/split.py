"""Train and val where the data set does not say: by a stable hash of the group, never by chance."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from atrous.data.samples import Sample
from atrous.errors import ConfigError

__all__ = ["VAL_SHARE", "natural_key", "sequence_groups", "split_by_group"]

VAL_SHARE = 0.2

# A sequence's name, a separator, a few letters at most, and the frame's number: 0006R0_f01080, seq1/frame-12, cam_7
_FRAME = re.compile(r"(?P<sequence>.+)[_\-/][A-Za-z]{0,6}[0-9]+")


def split_by_group(
    samples: Sequence[Sample], *, val_share: float = VAL_SHARE, seed: int = 0
) -> tuple[tuple[Sample, ...], tuple[Sample, ...], str]:
    """Part samples into train and val, and say how: (train, val, a sentence for the user).

    Groups are taken into val in the order of the SHA-256 of `seed:group`, until val has the share of samples
    nearest to `val_share`; so the parts depend on the names alone, not on order, machine or time. A group is never
    parted, unless it is the only one: then its last samples, in natural order, become val. With two samples or more
    neither part is empty.

    Raises ConfigError for a share that is not between 0 and 1.
    """
    if not 0 < val_share < 1:
        raise ConfigError(f"the share of val is {val_share}; it must lie between 0 and 1, for instance {VAL_SHARE}")
    ordered = sorted(samples, key=lambda sample: natural_key(sample.name))
    if len(ordered) < 2:
        return tuple(ordered), (), f"No val split: a split needs two images at least, there is {len(ordered)}."
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in ordered:
        members[sample.group].append(sample)
    if len(members) == 1:
        return _cut(ordered, val_share)
    chosen = _choose({group: len(part) for group, part in members.items()}, val_share * len(ordered), seed)
    train = tuple(sample for sample in ordered if sample.group not in chosen)
    val = tuple(sample for sample in ordered if sample.group in chosen)
    what = "images" if len(members) == len(ordered) else f"{len(members)} groups, which stay whole"
    note = (
        f"Split: train {len(train)}, val {len(val)}, because the data names no val split; "
        f"by a stable hash of the {what} (asked for {val_share:.0%} val, got {len(val) / len(ordered):.0%})."
    )
    return train, val, note


def sequence_groups(names: Iterable[str]) -> dict[str, str]:
    """Give the sequence of every name where the names are those of frames (cam1_0001, cam1_0002, cam2_0001).

    That is so when every name ends in a number after `_`, `-` or `/`, there are two prefixes or more, and two names
    per prefix on average; else the result is empty. (One prefix only, as in IMG_0001, says nothing about sequences.)
    """
    matches = {name: _FRAME.fullmatch(name) for name in names}
    groups = {name: match["sequence"] for name, match in matches.items() if match is not None}
    prefixes = set(groups.values())
    if len(groups) < len(matches) or len(prefixes) < 2 or len(groups) < 2 * len(prefixes):
        return {}
    return groups


def natural_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key in which numbers count as numbers: frame_2 comes before frame_10."""
    parts = re.split("([0-9]+)", text)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts)), text


def _choose(sizes: dict[str, int], target: float, seed: int) -> set[str]:
    """The groups of val: as many samples as come nearest to `target`, at least one group, never all."""

    def rank(group: str) -> bytes:
        return hashlib.sha256(f"{seed}:{group}".encode(errors="surrogateescape")).digest()

    chosen: set[str] = set()
    count = 0
    for group in sorted(sizes, key=rank):
        if len(chosen) + 1 < len(sizes) and abs(count + sizes[group] - target) < abs(count - target):
            chosen.add(group)
            count += sizes[group]
    return chosen or {min(sizes, key=lambda group: (sizes[group], rank(group)))}


def _cut(ordered: list[Sample], val_share: float) -> tuple[tuple[Sample, ...], tuple[Sample, ...], str]:
    count = min(max(1, round(val_share * len(ordered))), len(ordered) - 1)
    train, val = tuple(ordered[:-count]), tuple(ordered[-count:])
    note = (
        f"Split: train {len(train)}, val {len(val)}: the last {count} by name, because all images belong to one group "
        f"({ordered[0].group!r}). Train and val come from the same sequence: scores will be optimistic."
    )
    return train, val, note
