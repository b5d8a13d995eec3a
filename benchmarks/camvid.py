"""How good is a model of CamVid after so many minutes on this machine?

Runs `atrous train` as a user would, in a process of its own, and prints the scores and the wall time. The data and the
weights are not part of the project: CamVid in SegNet's layout (train, trainannot, val, valannot), and an ImageNet
MobileNetV2 with torchvision's keys.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("weights")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="further settings, KEY=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "atrous", "train", arguments.data, "--weights", arguments.weights]
        command += ["--minutes", str(arguments.minutes), "--seed", str(arguments.seed), "--out", str(run)]
        command += ["--set", *arguments.set] if arguments.set else []
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        minutes = (time.perf_counter() - begin) / 60
        metrics = json.loads((run / "metrics.json").read_text())
    print(describe())
    print(f"wall {minutes:.2f} minutes, {metrics['steps']} steps")
    print(f"mIoU {metrics['miou']:.4f} on {metrics['images']} images; pixel accuracy {metrics['pixel_accuracy']:.4f}")
    for name, value in metrics["iou"].items():
        print(f"  {name:<12} {value:.4f}" if value is not None else f"  {name:<12} absent")


if __name__ == "__main__":
    main()
