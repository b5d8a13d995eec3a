"""How much faster is the classic recipe as a whole process, start-up and final evaluation included?

MobileNetV3-Large, all but the last layer frozen, 48 training images of 352x480, ten epochs, then mIoU on 16 others: `atrous
train --recipe classic` beside a plain script over torchvision's network that computes everything every epoch. Both start
from the same weights. Processes alternate, each with a fresh cache folder. With CamVid's folder (SegNet's layout) the
images are CamVid's, else generated scenes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORK = "deeplabv3_mobilenet_v3_large"
SIZE = (352, 480)
COUNTS = {"train": 48, "val": 16}


def plain(data: Path, weights: Path, classes: int, epochs: int, batch: int) -> None:
    """The whole job of the plain process."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import load_file
    from torch.nn import functional
    from torchvision_reference import reference_network

    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)

    def read(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = np.array(Image.open(data / "JPEGImages" / f"{name}.png").convert("RGB"), np.float32) / 255
        mask = np.array(Image.open(data / "SegmentationClass" / f"{name}.png"), np.int64)
        return torch.from_numpy((pixels - mean) / std).permute(2, 0, 1).contiguous(), torch.from_numpy(mask)

    network: Any = reference_network(NETWORK, num_classes=classes)
    network.load_state_dict(load_file(weights))
    network.eval().requires_grad_(False)
    network.classifier[-1].requires_grad_(True)
    optimizer = torch.optim.Adam(network.classifier[-1].parameters(), lr=1e-3)
    names = (data / "ImageSets/Segmentation/train.txt").read_text().split()
    for _ in range(epochs):
        turn = torch.randperm(len(names)).tolist()
        for first in range(0, len(names), batch):
            pairs = [read(names[index]) for index in turn[first : first + batch]]
            optimizer.zero_grad()
            logits = network(torch.stack([pair[0] for pair in pairs]))["out"]
            functional.cross_entropy(logits, torch.stack([pair[1] for pair in pairs]), ignore_index=255).backward()
            optimizer.step()
    counts = torch.zeros(classes, classes, dtype=torch.long)
    with torch.no_grad():
        for name in (data / "ImageSets/Segmentation/val.txt").read_text().split():
            image, mask = read(name)
            best = network(image[None])["out"][0].argmax(0)
            valid = mask != 255
            counts += torch.bincount(mask[valid] * classes + best[valid], minlength=classes**2).view(classes, classes)
    union = counts.sum(0) + counts.sum(1) - counts.diag()
    print(float((counts.diag() / union.clamp_min(1))[union > 0].mean()))


def write_data(folder: Path, camvid: Path | None) -> int:
    """Write the images as a VOC-like folder and return the number of classes."""
    import numpy as np
    from PIL import Image

    from atrous.demo import write_scenes
    from atrous.scenes import SCENE_LABELS

    if camvid is None:
        write_scenes(folder, seed=1, counts=COUNTS, size=SIZE)
        for path in sorted((folder / "JPEGImages").glob("*.jpg")):
            Image.open(path).save(path.with_suffix(".png"))
            path.unlink()
        return SCENE_LABELS.num_classes
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, count in COUNTS.items():
        paths = sorted((camvid / split).glob("*.png"))
        chosen = [paths[index * len(paths) // count] for index in range(count)]
        for path in chosen:
            Image.open(path).convert("RGB").crop((0, 0, SIZE[1], SIZE[0])).save(folder / "JPEGImages" / path.name)
            mask = np.array(Image.open(camvid / f"{split}annot" / path.name))[: SIZE[0]]
            mask[mask == 11] = 255
            Image.fromarray(mask).save(folder / "SegmentationClass" / path.name)
        (folder / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(path.stem for path in chosen) + "\n")
    names = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()
    lines = [f"{name}:{20 * number},{10 * number},{255 - 20 * number}::" for number, name in enumerate(names)]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    return 11


def seconds_of(command: list[str], cache: Path) -> tuple[float, str]:
    """Seconds of a whole process, and its last line of output."""
    begin = time.perf_counter()
    environment = {**os.environ, "ATROUS_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = (done.stderr if "-m" in command else done.stdout).strip().splitlines()
    told = next((line for line in reversed(lines) if "mIoU" in line), lines[-1])
    return time.perf_counter() - begin, told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camvid", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", nargs=3, help="data, weights, classes: be the plain process")
    arguments = parser.parse_args()
    if arguments.plain:
        data, weights, classes = arguments.plain
        plain(Path(data), Path(weights), int(classes), arguments.epochs, arguments.batch)
        return
    import torch
    from safetensors.torch import save_file

    from atrous.models.deeplab import build
    from machine import describe

    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classes = write_data(folder / "data", arguments.camvid)
        torch.manual_seed(0)
        weights = folder / "start.safetensors"
        state = build(NETWORK, num_classes=classes).state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, weights)
        common = [f"--epochs={arguments.epochs}", f"--batch={arguments.batch}"]
        ratios: list[float] = []
        for turn in range(arguments.rounds):
            ours = [sys.executable, "-m", "atrous", "train", str(folder / "data"), "--recipe", "classic", *common]
            ours += ["--model", NETWORK, "--weights", str(weights), "--crop", *map(str, SIZE), "--out"]
            ours += [str(folder / f"run-{turn}"), "--set", "flip=0", "validations=1"]
            mine, my_words = seconds_of(ours, folder / f"cache-{turn}")
            theirs = [sys.executable, __file__, *common, "--plain", str(folder / "data"), str(weights), str(classes)]
            other, their_words = seconds_of(theirs, folder)
            ratios.append(other / mine)
            print(
                f"ours {mine:.1f} s ({my_words[:60]}), plain {other:.1f} s (mIoU {their_words[:6]}): {ratios[-1]:.2f} times"
            )
        print(f"median of {arguments.rounds}: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
