"""How many images a second does training take, beside a plain loop over torchvision's network and transforms?

Both read the same generated 360x480 JPEGs and PNG masks, draw scale, crop and flip, train every layer in float32 with SGD
and cross entropy at full size. The plain loop is torchvision's reference script cut down to its core: PIL, transforms.v2,
a DataLoader, `optimizer.step()`; it runs with 0 and with 2 loading processes, and the faster one counts. Processes
alternate; each takes a few steps before it is timed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from atrous.allocator import keep_freed_memory
from atrous.data.layouts import open_dataset
from atrous.data.loader import TrainingImages, batches
from atrous.demo import write_scenes
from atrous.losses import make_loss
from atrous.models.deeplab import build
from atrous.optim import make_optimizer
from atrous.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from atrous.training.cut import cut_for
from atrous.training.freezing import train_mode
from atrous.training.steps import Stepper, choose_precision
from atrous.transforms import Augmentation
from machine import describe

CLASSES = 8


def ours(data: Path, name: str, crop: int, batch: int) -> Iterator[float]:
    """Yield after every step of atrous."""
    keep_freed_memory()
    dataset = open_dataset(data)
    network = build(name, num_classes=CLASSES).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    train_mode(network, "none")
    stepper = Stepper(
        network,
        make_optimizer(network, name="sgd", rate=0.01, weight_decay=1e-4),
        cut=cut_for(network, "none"),
        loss=make_loss("cross_entropy"),
        precision=choose_precision(torch.device("cpu")),
        device=torch.device("cpu"),
    )
    images = TrainingImages(
        dataset,
        dataset.splits["train"],
        augmentation=Augmentation(crop_size=(crop, crop)),
        preprocessing=Preprocessing(),
        seed=0,
    )
    for number, part in enumerate(batches(images, batch=batch)):
        yield stepper.step(part, number=number).loss


def plain(data: Path, name: str, crop: int, batch: int, *, workers: int) -> Iterator[float]:
    """Yield after every step of the plain loop."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
    from torchvision_reference import reference_network

    network = reference_network(name, num_classes=CLASSES).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader = torch.utils.data.DataLoader(
        PlainImages(data, crop), batch_size=batch, shuffle=True, num_workers=workers, drop_last=True
    )
    while True:
        for image, mask in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(image)["out"], mask, ignore_index=255)
            loss.backward()
            optimizer.step()
            yield loss.item()


class PlainImages(torch.utils.data.Dataset[Any]):
    """Pairs as torchvision's reference script makes them (its presets.SegmentationPresetTrain, PIL backend)."""

    def __init__(self, data: Path, crop: int) -> None:
        names = (data / "ImageSets/Segmentation/train.txt").read_text().split()
        self.pairs = [
            (data / "JPEGImages" / f"{name}.jpg", data / "SegmentationClass" / f"{name}.png") for name in names
        ]
        self.crop = crop

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        import numpy as np
        from PIL import Image
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        image = Image.open(self.pairs[index][0]).convert("RGB")
        mask = tv_tensors.Mask(np.array(Image.open(self.pairs[index][1])))
        short = min(image.size)
        fill: dict[Any, Any] = {tv_tensors.Mask: 255, "others": 0}
        transform = v2.Compose(
            [
                v2.RandomResize(short // 2, short * 2),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(self.crop, pad_if_needed=True, fill=fill),
                v2.ToImage(),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD),
            ]
        )
        return transform(image, mask)


def one_process(arguments: argparse.Namespace) -> None:
    """Print the images a second of one side."""
    sides: dict[str, Callable[..., Iterator[float]]] = {"ours": ours, "plain": plain}
    options = {"workers": arguments.workers} if arguments.side == "plain" else {}
    torch.manual_seed(0)
    steps = sides[arguments.side](Path(arguments.data), arguments.name, arguments.crop, arguments.batch, **options)
    for _ in range(arguments.warm):
        next(steps)
    begin = time.perf_counter()
    for _ in range(arguments.steps):
        next(steps)
    print(arguments.steps * arguments.batch / (time.perf_counter() - begin))


def measure(data: Path, side: str, name: str, crop: int, batch: int, steps: int, workers: int) -> float:
    """Images a second of one side, in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--data", str(data), "--name", name, "--crop", str(crop)]
    command += ["--batch", str(batch), "--steps", str(steps), "--workers", str(workers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", choices=("ours", "plain"))
    parser.add_argument("--data")
    parser.add_argument("--name")
    parser.add_argument("--crop", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one of the two networks")
    arguments = parser.parse_args()
    if arguments.side:
        one_process(arguments)
        return
    print(describe())
    cases = [("deeplabv3_mobilenet_v3_large", 321, 8, 12), ("deeplabv3_resnet50", 321, 4, 3)]
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), seed=1, counts={"train": 64, "val": 1}, size=(360, 480))
        for name, crop, batch, steps in cases:
            if arguments.only not in (None, name):
                continue
            rows: list[list[float]] = []
            for _ in range(arguments.rounds):
                sides = (("ours", 0), ("plain", 0), ("plain", 2))
                rows.append([measure(Path(folder), side, name, crop, batch, steps, w) for side, w in sides])
                print(f"{name}: ours {rows[-1][0]:.2f}, plain {rows[-1][1]:.2f}, with 2 workers {rows[-1][2]:.2f}")
            ratio = statistics.median(row[0] / max(row[1:]) for row in rows)
            speeds = [statistics.median(column) for column in zip(*rows, strict=True)]
            print(
                f"{name}, crop {crop}x{crop}, batch {batch}: ours {speeds[0]:.2f} images/s, plain {speeds[1]:.2f}, plain "
                f"with 2 workers {speeds[2]:.2f}; ours over the faster plain one, median: {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
