"""What do filling up, enlarging and tuning give a finished model? One run's weights, measured with ever more of them.

Train with `tune_images=0`, then give the run folder:

    atrous train CAMVID --weights WEIGHTS --minutes 15 --seed 0 --set tune_images=0 --out RUN
    python benchmarks/camvid_parts.py RUN CAMVID
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

import atrous
from atrous.config import TrainConfig
from atrous.data.layouts import open_dataset
from atrous.evaluation import evaluate_model
from atrous.preprocessing import Preprocessing
from atrous.training.balance import add_to_biases
from atrous.training.tuning import best_shift, sample_logits, some_samples
from machine import describe

TUNE_IMAGES = TrainConfig.model_fields["tune_images"].default


def main() -> None:
    """Measure the four."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    dataset = open_dataset(arguments.data)
    opened = atrous.load(arguments.run, device="cpu")
    whole = opened.preprocessing
    plain = replace(whole, resize=Preprocessing().resize, resize_scale=None, resize_to=None, pad_to=1)
    filled = replace(plain, pad_to=whole.pad_to)
    print(describe())
    print(f"filled up to {whole.pad_to}; {whole.resize} {whole.resize_scale or whole.resize_to}")
    for name, preprocessing in (("plain", plain), ("filled up", filled), ("enlarged", whole), ("tuned", whole)):
        model = atrous.Model(opened.network, labels=opened.labels, preprocessing=preprocessing, device="cpu")
        if name == "tuned":
            samples = some_samples(dataset.splits["train"], most=TUNE_IMAGES)
            shift = best_shift(*sample_logits(model, dataset, samples))
            add_to_biases(model.network, shift.tolist())  # pyright: ignore[reportArgumentType]
            print("shift", np.round(shift, 2).tolist())
        report = evaluate_model(model, dataset)
        least = sorted((value, key) for key, value in report.iou.items() if value is not None)[:3]
        print(f"{name:<10} mIoU {report.miou:.4f}; least: " + ", ".join(f"{key} {value:.3f}" for value, key in least))


if __name__ == "__main__":
    main()
