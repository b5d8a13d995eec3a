"""How much faster is training on kept outputs of a frozen part than a plain loop that computes them every epoch?

Both train the same layers of the same network (torchvision's DeepLabv3, same weights) on the same images in the same
order, frozen part in eval mode, cross entropy at full size, Adam; so both must have the same loss curve, which is
printed and compared. Ours is the whole of `atrous.api.train`: reading and checking the data, the plan, outputs, steps,
the finished model. The plain loop's epochs all cost the same, so it runs `--plain-epochs` of them and the rest follows.

    python benchmarks/frozen_training.py                                  all but the last layer, ResNet-50, 64 images
    python benchmarks/frozen_training.py --freeze backbone --images 8     the whole head is trained
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from atrous import api
from atrous.data.loader import order
from atrous.demo import write_scenes
from atrous.models.deeplab import build
from atrous.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from atrous.states import load_state
from atrous.training.steps import Stepper
from machine import describe

CLASSES = 8
RATE = 1e-3


def start_weights(name: str, path: Path) -> None:
    """Write random weights whose features are spread like trained ones', for both sides."""
    torch.manual_seed(0)
    network = build(name, num_classes=CLASSES)
    network.eval()
    from safetensors.torch import save_file

    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)


def ours(data: Path, weights: Path, out: Path, arguments: argparse.Namespace, epochs: int) -> tuple[float, list[float]]:
    """Seconds of a whole training, and the loss of every step."""
    losses: list[float] = []
    plain = Stepper.step

    def noting(self: Stepper, batch: Any, *, number: int) -> Any:
        stats = plain(self, batch, number=number)
        losses.append(stats.loss)
        return stats

    Stepper.step = noting
    begin = time.perf_counter()
    api.train(
        data,
        recipe="classic",
        out=out,
        model=arguments.network,
        weights=str(weights),
        freeze=arguments.freeze,
        epochs=epochs,
        batch=arguments.batch,
        crop=(arguments.size, arguments.size),
        flip=0.0,
        auxiliary_weight=0.0,
        batch_norm="freeze" if arguments.freeze == "backbone" else "auto",
        network={"dropout": 0.0},
        validations=1,
        rate=RATE,
    )
    seconds = time.perf_counter() - begin
    Stepper.step = plain
    steps = load_state(out / "last/state.safetensors")["position"]["step"]
    return seconds, losses[-steps:]


def plain_loop(data: Path, weights: Path, arguments: argparse.Namespace, epochs: int) -> tuple[float, list[float]]:
    """Seconds of so many epochs of the plain loop, and the loss of every step."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "parity"))
    from safetensors.torch import load_file
    from torchvision_reference import reference_network

    network = reference_network(arguments.network, num_classes=CLASSES)
    network.load_state_dict(load_file(weights))
    network.eval().requires_grad_(False)
    classifier: Any = network.classifier
    trained = classifier[-1] if arguments.freeze == "all-but-last" else classifier
    trained.requires_grad_(True)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=RATE)
    names = (data / "ImageSets/Segmentation/train.txt").read_text().split()
    losses: list[float] = []
    begin = time.perf_counter()
    for epoch in range(epochs):
        turn = order(len(names), seed=0, epoch=epoch)
        for first in range(0, len(names), arguments.batch):
            pairs = [read(data, names[index]) for index in turn[first : first + arguments.batch]]
            image, mask = torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(image)["out"], mask, ignore_index=255)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return time.perf_counter() - begin, losses


def read(data: Path, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """One pair as a plain loop reads it."""
    pixels = np.array(Image.open(data / "JPEGImages" / f"{name}.jpg").convert("RGB"), np.float32) / 255
    pixels = (pixels - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    mask = np.array(Image.open(data / "SegmentationClass" / f"{name}.png"), np.int64)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(mask)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="deeplabv3_resnet50")
    parser.add_argument("--freeze", default="all-but-last", choices=("all-but-last", "backbone"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=513)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, nargs="*", default=[10, 30])
    parser.add_argument("--plain-epochs", type=int, default=1)
    arguments = parser.parse_args()
    print(describe())
    print(
        f"{arguments.network}, freeze {arguments.freeze}, {arguments.images} images of {arguments.size}x{arguments.size}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = (arguments.size, arguments.size)
        write_scenes(folder / "data", seed=1, counts={"train": arguments.images, "val": 1}, size=size)
        start_weights(arguments.network, folder / "start.safetensors")
        seconds, expected = plain_loop(folder / "data", folder / "start.safetensors", arguments, arguments.plain_epochs)
        epoch = seconds / arguments.plain_epochs
        print(f"plain loop: {seconds:.1f} s for {arguments.plain_epochs} epochs, {epoch:.1f} s each")
        for epochs in arguments.epochs:
            import os

            os.environ["ATROUS_CACHE"] = str(folder / f"cache-{epochs}")
            mine, losses = ours(
                folder / "data", folder / "start.safetensors", folder / f"run-{epochs}", arguments, epochs
            )
            apart = max(abs(a - b) / b for a, b in zip(losses, expected, strict=False))
            print(
                f"{epochs} epochs: ours {mine:.1f} s, plain {epochs * epoch:.1f} s, {epochs * epoch / mine:.1f} times; "
                f"losses of the first {len(expected)} steps differ by at most {apart:.1e} of their value; "
                f"last loss {statistics.mean(losses[-3:]):.4f}"
            )


if __name__ == "__main__":
    main()
