"""Do plans come true? Minutes and memory that a run tells before it begins, beside what it then takes.

Two networks on three sets of generated scenes of different size, number and shape (and on folders that are given). Each
run is a process of its own; its memory is the kernel's mark.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from atrous.demo import write_scenes
from machine import describe

SETS = {"small": (200, (192, 256)), "middle": (60, (375, 500)), "large": (24, (720, 960))}
RUNS = {
    "small": [("deeplabv3plus_mobilenet_v2", 3, "160 224"), ("deeplabv3_resnet18", 2, "160 224")],
    "middle": [("deeplabv3plus_mobilenet_v2", 6, "304 400"), ("deeplabv3_resnet18", 3, "304 400")],
    "large": [("deeplabv3plus_mobilenet_v2", 10, "304 400"), ("deeplabv3_resnet18", 5, "304 400")],
}  # epochs and crops that make runs of a minute or two on two cores


def run(data: Path, out: Path, name: str, epochs: int, crop: str) -> tuple[float, float, float, float]:
    """(planned seconds, real seconds, planned bytes, real bytes)."""
    command = [sys.executable, "-m", "atrous", "train", str(data), "--model", name, "--weights", "none"]
    command += ["--epochs", str(epochs), "--crop", *crop.split(), "--batch", "4", "--out", str(out)]
    command += ["--set", "validations=2"]
    begin = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ, file_actions=quiet(out.with_suffix(".log")))
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(out.with_suffix(".log").read_text())
    plan = json.loads((out / "plan.json").read_text())
    return plan["seconds"], seconds, plan["memory"], usage.ru_maxrss * 1024


def quiet(log: Path) -> list[tuple[int, ...]]:
    """The child's output goes to a file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return [(os.POSIX_SPAWN_OPEN, number, str(log), flags, 0o644) for number in (1, 2)]  # pyright: ignore[reportReturnType]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(SETS))
    arguments = parser.parse_args()
    print(describe())
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label in arguments.only:
            count, size = SETS[label]
            write_scenes(folder / label, seed=1, counts={"train": count, "val": max(4, count // 8)}, size=size)
            for network, epochs, crop in RUNS[label]:
                planned, real, memory, peak = run(folder / label, folder / f"{label}-{network}", network, epochs, crop)
                worst = max(worst, abs(planned / real - 1), abs(memory / peak - 1))
                print(
                    f"{count} images of {size[0]}x{size[1]}, {network}, {epochs} epochs: planned {planned:.0f} s, took "
                    f"{real:.0f} s ({planned / real - 1:+.0%}); planned {memory / 2**30:.2f} GB, took {peak / 2**30:.2f} GB "
                    f"({memory / peak - 1:+.0%})",
                    flush=True,
                )
    print(f"furthest off: {worst:.0%}")


if __name__ == "__main__":
    main()
