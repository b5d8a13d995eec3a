"""How long does one training sample take on one core?

A 500x375 JPEG and its PNG mask, decoded, with every augmentation on, to a normalised 513x513 image and mask.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import torch

from atrous.data.layouts import open_dataset
from atrous.data.loader import TrainingImages
from atrous.demo import write_scenes
from atrous.preprocessing import Preprocessing
from atrous.transforms import Augmentation
from machine import describe


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    augmentation = Augmentation(
        crop_size=(513, 513),
        scale=(0.5, 2.0),
        flip=0.5,
        rotation=10,
        brightness=0.25,
        contrast=0.25,
        saturation=0.25,
        tint=0.1,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(Path(folder), seed=1, counts={"train": 8, "val": 1}, size=(375, 500))
        dataset = open_dataset(Path(folder))
        images = TrainingImages(
            dataset,
            dataset.splits["train"],
            augmentation=augmentation,
            preprocessing=Preprocessing(),
            seed=0,
        )
        seconds: list[float] = []
        for epoch in range(arguments.rounds):
            for index in range(len(images)):
                begin = time.perf_counter()
                images[epoch, index]
                seconds.append(time.perf_counter() - begin)
        size = sum(sample.image.stat().st_size for sample in dataset.splits["train"]) / 8 / 1000
    print(describe())
    print(f"JPEG of {size:.0f} kB on average, {len(seconds)} samples")
    print(f"milliseconds: median {1000 * statistics.median(seconds):.2f}, fastest {1000 * min(seconds):.2f}")


if __name__ == "__main__":
    main()
