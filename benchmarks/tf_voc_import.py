"""How good is TensorFlow's MobileNetV2 DeepLabv3 for PASCAL VOC after `atrous import`, on photos with masks?

Runs `atrous import` and `atrous predict` as a user would, in processes of their own, and compares the masks written
with the true ones: one confusion matrix over all images, and the mean over the classes that the truth holds. The data
and the weights are not part of the project. A folder of images, and one of masks of the same names (index = class).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from atrous.labels import VOC
from atrous.metrics import ConfusionMatrix
from machine import describe


def main() -> None:
    """Import, predict, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--output-stride", nargs="+", default=["8", "16"], choices=["8", "16"])
    arguments = parser.parse_args()
    truth = {path.stem: path for path in sorted(arguments.masks.glob("*.png"))}
    images = [path for path in sorted(arguments.images.iterdir()) if path.stem in truth]
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        for output_stride in arguments.output_stride:
            matrix, seconds = _measure(arguments.weights, images, truth, output_stride, Path(folder))
            _print(matrix, len(images), output_stride, seconds)


def _measure(
    weights: Path, images: list[Path], truth: dict[str, Path], output_stride: str, folder: Path
) -> tuple[ConfusionMatrix, float]:
    """The confusion matrix, and the seconds that prediction took from start to end."""
    model, masks = folder / f"os{output_stride}.safetensors", folder / f"os{output_stride}"
    command = [sys.executable, "-m", "atrous"]
    subprocess.run([*command, "import", weights, "--output-stride", output_stride, "--out", model], check=True)
    begin = time.perf_counter()
    predict = [*command, "predict", model, *images, "--out", masks, "--save", "mask", "--device", "cpu"]
    subprocess.run(predict, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    matrix = ConfusionMatrix(VOC.num_classes, ignore_index=255)
    for path in images:
        predicted = masks / f"{path.stem}.png"
        matrix.update(np.asarray(Image.open(predicted)), np.asarray(Image.open(truth[path.stem])))
    return matrix, seconds


def _print(matrix: ConfusionMatrix, count: int, output_stride: str, seconds: float) -> None:
    counts = matrix.counts
    scores = matrix.scores()
    present = [index for index in range(len(counts)) if counts[index].sum()]
    ious = {VOC.names[index]: scores.iou[index] or 0.0 for index in present}
    print(
        f"output stride {output_stride}: mIoU {np.mean(list(ious.values())):.4f} over {len(present)} classes that occur"
    )
    print(f"  pixel accuracy {scores.pixel_accuracy:.4f}, {count} images in {seconds:.0f} s with start-up")
    for name, iou in ious.items():
        print(f"  {name:<12} {iou:.4f}")


if __name__ == "__main__":
    main()
