"""Tiny data sets in every layout, drawn from a seed: 8 to 30 pictures of some hundred pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (12, 16)  # height, width


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def mask(seed: int, values, size: tuple[int, int] = SIZE, dtype=np.uint8) -> np.ndarray:
    """Random values, each of which occurs."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values, dtype), size)
    drawn.flat[: len(values)] = values
    return drawn


def save(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def save_palette(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    image.putpalette(list(range(256)) * 3)
    image.save(path)
    return path


def pair(
    root: Path, name: str, images: str, masks: str, values=(0, 1, 2), *, seed: int = 0, suffix=".jpg", tail=""
) -> None:
    save(root / images / f"{name}{suffix}", picture(seed))
    save(root / masks / f"{name}{tail}.png", mask(seed, values))


def folder(root: Path, count: int = 10, values=(0, 1, 2, 255), images="images", masks="masks", **options) -> Path:
    for index in range(count):
        pair(root, f"photo{index}x", images, masks, values, seed=index, **options)
    return root


def camvid(root: Path, values=tuple(range(12))) -> Path:
    names = {
        "train": ["0001TP_006690", "0001TP_006720", "0006R0_f00930", "0016E5_00390", "0016E5_00420"],
        "val": ["0016E5_07959", "0016E5_07961"],
        "test": ["Seq05VD_f00000"],
    }
    for split, frames in names.items():
        for index, frame in enumerate(frames):
            pair(root, frame, split, f"{split}annot", values, seed=index, suffix=".png")
    return root


def voc(root: Path) -> Path:
    lists = {"train": ["2007_000032", "2007_000039", "2008_000001"], "val": ["2007_000033", "2007_000042"]}
    for name in [*lists["train"], *lists["val"]]:
        save(root / "JPEGImages" / f"{name}.jpg", picture(1))
        save_palette(root / "SegmentationClass" / f"{name}.png", mask(1, (0, 15, 20, 255)))
    save(root / "JPEGImages" / "2007_000027.jpg", picture(2))  # a photograph for detection only, in no list
    for split, names in lists.items():
        target = root / "ImageSets" / "Segmentation" / f"{split}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(names) + "\n")
    return root
