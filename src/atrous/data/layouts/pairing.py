"""Which mask belongs to which image: by name, with the few habits that names have."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from atrous.data.layouts.listing import Tree
from atrous.errors import DataError

__all__ = ["Pairing", "mask_stem", "pair_folders", "pair_one_folder"]

_MASK_ENDING = re.compile(r"[_\-. ](?:masks?|labels?|lbl|gt|seg|segmentation|annot|annotation|l)$", re.IGNORECASE)
_MASK_BEGINNING = re.compile(r"^(?:masks?|labels?|lbl|gt|seg|annot)[_\-]?", re.IGNORECASE)
_IMAGE_BEGINNING = re.compile(r"^(?:images?|img|im|photo|rgb)[_\-]?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Images with their masks, and those without partner. A pair is (key, image, mask); `rule` says how they match."""

    pairs: tuple[tuple[str, Path, Path], ...] = ()
    lone_images: tuple[Path, ...] = ()
    lone_masks: tuple[Path, ...] = ()
    rule: str = "same name"


def pair_folders(tree: Tree, images: Path, masks: Path) -> Pairing:
    """Pair the pictures below two folders by their names without suffix; folders inside are part of the name.

    Of four rules the one that pairs most is taken, the plainest first: same name; mask name with an ending (`_mask`,
    `_gt`, ...); names with beginnings (`image_1`, `mask_1`); same name in whatever folder inside.

    Raises DataError where two images, or two masks, have the same name.
    """
    image_keys = _keyed(tree, images)
    mask_keys = _keyed(tree, masks)
    best = Pairing()
    for rule, of_image, of_mask in _RULES:
        candidate = _pair(image_keys, mask_keys, of_image=of_image, of_mask=of_mask, rule=rule)
        if candidate is not None and (rule == _RULES[0][0] or len(candidate.pairs) > len(best.pairs)):
            best = candidate
    return best


def pair_one_folder(tree: Tree, folder: Path) -> Pairing:
    """Pair within one folder: `a.jpg` with `a_mask.png` (or another ending), or `a.jpg` with `a.png`."""
    pictures = tree.pictures(folder, deep=False)
    stems = {path.stem for path in pictures}
    endings = [path for path in pictures if mask_stem(path.stem) != path.stem]
    if any(mask_stem(path.stem) in stems for path in endings):
        images = {path.stem: path for path in _unique(folder, [path for path in pictures if path not in set(endings)])}
        masks = {mask_stem(path.stem): path for path in _unique(folder, endings)}
        return _join(images, masks, rule="the mask's name has an ending such as _mask")
    images = {path.stem: path for path in pictures if path.suffix.lower() != ".png"}
    masks = {path.stem: path for path in pictures if path.suffix.lower() == ".png"}
    if images.keys() & masks.keys():
        return _join(images, masks, rule="same name, the mask as .png")
    return Pairing(lone_images=tuple(pictures))


def mask_stem(stem: str) -> str:
    """The image's name in a mask's name: without an ending such as `_mask` or `_gt`."""
    return _MASK_ENDING.sub("", stem)


def _same(key: str) -> str:
    return key


def _base(key: str) -> str:
    return PurePosixPath(key).name


def _without(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def strip(key: str) -> str:
        name = _base(key)
        return key[: len(key) - len(name)] + pattern.sub("", name)

    return strip


_RULES: tuple[tuple[str, Callable[[str], str], Callable[[str], str]], ...] = (
    ("same name", _same, _same),
    ("the mask's name has an ending such as _mask", _same, mask_stem),
    ("same name after a beginning such as image_ or mask_", _without(_IMAGE_BEGINNING), _without(_MASK_BEGINNING)),
    ("same name, whatever the folder", _base, _base),
)


def _pair(
    images: dict[str, Path],
    masks: dict[str, Path],
    *,
    of_image: Callable[[str], str],
    of_mask: Callable[[str], str],
    rule: str,
) -> Pairing | None:
    """Apply one rule; None where it makes two names the same, because then it cannot tell them apart."""
    short_images = {of_image(key): path for key, path in images.items()}
    short_masks = {of_mask(key): path for key, path in masks.items()}
    if len(short_images) < len(images) or len(short_masks) < len(masks):
        return None
    return _join(short_images, short_masks, rule=rule)


def _join(images: dict[str, Path], masks: dict[str, Path], *, rule: str) -> Pairing:
    return Pairing(
        pairs=tuple((key, path, masks[key]) for key, path in images.items() if key in masks),
        lone_images=tuple(path for key, path in images.items() if key not in masks),
        lone_masks=tuple(path for key, path in masks.items() if key not in images),
        rule=rule,
    )


def _keyed(tree: Tree, folder: Path) -> dict[str, Path]:
    pictures = _unique(folder, tree.pictures(folder))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in pictures}


def _unique(folder: Path, pictures: Sequence[Path]) -> Sequence[Path]:
    """The same pictures, after checking that no two differ by their suffix alone."""
    seen: dict[Path, Path] = {}
    for path in pictures:
        other = seen.setdefault(path.with_suffix(""), path)
        if other != path:
            raise DataError(
                f"{folder} holds both {other.name} and {path.name}; expected one picture of each name, "
                "because names tell which mask belongs to which image. Remove or rename one of them."
            )
    return pictures
