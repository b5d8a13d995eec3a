"""How fast, in how much memory, and how exactly do coarse logits become label maps?

Every way on the same logits, one after the other in every round: torch (enlarge, argmax), OpenCV and NumPy (the same),
`atrous.labelling` with NumPy alone, and with its compiled kernel. Logits are in channels_last, as networks give them:
smooth ones with borders as photographs have them, and noise, the worst case. With `--model` and images also real ones.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from atrous.labelling import bands, cells, label_map, plain
from machine import describe

CASES = [  # classes, coarse size, size
    (21, (33, 33), (513, 513)),
    (21, (65, 65), (513, 513)),
    (21, (129, 129), (513, 513)),
    (19, (64, 128), (1024, 2048)),
    (19, (256, 512), (1024, 2048)),
    (150, (32, 32), (512, 512)),
    (150, (128, 128), (512, 512)),
    (21, (129, 129), (3000, 4000)),
]
BAND_CASES = [CASES[1], (19, (128, 256), (1024, 2048)), (150, (64, 64), (512, 512))]
PHOTOGRAPH = (0.05, 0.15)  # share of the pixels in cells whose corners disagree

Way = Callable[[Tensor, tuple[int, int]], np.ndarray]


def smooth_logits(num_classes: int, size: tuple[int, int]) -> Tensor:
    """Random regions with soft borders, coarser until the share of disagreeing cells is a photograph's."""
    for seed in range(1000):
        generator = torch.Generator().manual_seed(seed)
        regions = 2 + (num_classes + seed) % 5
        few = torch.randn(1, num_classes, regions, regions, generator=generator)
        logits = 8 * functional.interpolate(few, size=size, mode="bicubic", align_corners=True)
        logits += 0.1 * torch.randn(logits.shape, generator=generator)
        if PHOTOGRAPH[0] <= disagreeing_share(logits) <= PHOTOGRAPH[1]:
            return logits.contiguous(memory_format=torch.channels_last)
    raise ValueError(f"no seed gives {num_classes} classes on {size} a photograph's borders")


def noise_logits(num_classes: int, size: tuple[int, int]) -> Tensor:
    """The worst case: hardly a cell whose corners agree."""
    logits = torch.randn(1, num_classes, *size, generator=torch.Generator().manual_seed(0))
    return logits.contiguous(memory_format=torch.channels_last)


def disagreeing_share(logits: Tensor) -> float:
    """The share of cells whose corners disagree."""
    best = logits[0].argmax(dim=0)
    corners = torch.stack([best[:-1, :-1], best[:-1, 1:], best[1:, :-1], best[1:, 1:]])
    return float((corners != corners[0]).any(dim=0).float().mean())


def opencv(coarse: Tensor, size: tuple[int, int]) -> np.ndarray:
    """What users write with OpenCV and NumPy; it takes 128 channels at a time."""
    scores = coarse[0].permute(1, 2, 0).numpy()
    parts = [
        cv2.resize(np.ascontiguousarray(scores[..., k : k + 128]), size[::-1], interpolation=cv2.INTER_LINEAR)
        for k in range(0, scores.shape[2], 128)
    ]
    enlarged = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    return enlarged.argmax(axis=2).astype(np.uint8)


def with_numpy(coarse: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Labels from cells, NumPy alone."""
    cells._kernel = cells._Kernel()
    cells._kernel.missing = True
    return label_map(coarse, size)


def compiled(coarse: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Labels from cells, compiled kernel."""
    cells._kernel = cells._Kernel()
    cells._kernel.load()
    return label_map(coarse, size)


LABELLING: dict[str, Way] = {
    "torch": plain.label_map,
    "opencv": opencv,
    "numpy cells": with_numpy,
    "compiled cells": compiled,
}


def reset_peak() -> bool:
    """Give freed memory back, and let the process's peak start anew (Linux with glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def memory(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def peak_megabytes(work: Callable[[], object]) -> str:
    """What `work` needs at its peak, with its result, in MB."""
    if not reset_peak():
        return "?"
    before = memory("VmRSS")
    result = work()
    peak = memory("VmHWM")
    del result
    return f"{(peak - before) / 1e6:.1f}"


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round; the ways take turns, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, work in ways.items():
            begin = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def print_rows(title: str, ways: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """Milliseconds (median, least), how many times faster than the first way (median over rounds), and peak memory."""
    seconds = alternate(ways, rounds)
    base = next(iter(seconds.values()))
    for name, times in seconds.items():
        gain = statistics.median(plain / own for plain, own in zip(base, times, strict=True))
        middle, least = 1000 * statistics.median(times), 1000 * min(times)
        print(
            f"| {title} | {name} | {middle:.2f} | {least:.2f} | {gain:.1f} | {peak_megabytes(ways[name])} |", flush=True
        )


def measure_labels(rounds: int, only: list[int] | None) -> None:
    """The table of label maps."""
    print("\n| case | way | median ms | least ms | times faster | peak MB |\n|---|---|---|---|---|---|")
    for index, (num_classes, coarse_size, size) in enumerate(CASES):
        if only and index not in only:
            continue
        for kind, make in (("smooth", smooth_logits), ("noise", noise_logits)):
            coarse = make(num_classes, coarse_size)
            share = disagreeing_share(coarse)
            title = f"{num_classes} {coarse_size[0]}x{coarse_size[1]} to {size[0]}x{size[1]}, {kind} {share:.0%}"
            ways = {name: partial(way, coarse, size) for name, way in LABELLING.items()}
            print_rows(title, ways, rounds)


def measure_bands(rounds: int) -> None:
    """The table of what needs every class."""
    print("\n| case | way | median ms | least ms | times faster | peak MB |\n|---|---|---|---|---|---|")
    cells._kernel.missing = True
    for num_classes, coarse_size, size in BAND_CASES:
        coarse = smooth_logits(num_classes, coarse_size)
        limits, views, flipped = [0.3] * num_classes, [coarse, coarse.flip(3)], [False, True]
        title = f"{num_classes} {coarse_size[0]}x{coarse_size[1]} to {size[0]}x{size[1]}"
        jobs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "confidence": (
                partial(plain.label_map_and_confidence, coarse, size),
                partial(bands.label_map_and_confidence, coarse, size),
            ),
            "thresholds": (
                partial(plain.thresholded, coarse, size, limits),
                partial(bands.thresholded, coarse, size, limits),
            ),
            "mean of two views": (
                partial(plain.averaged, views, size, flipped=flipped),
                partial(bands.averaged, views, size, flipped=flipped),
            ),
        }
        for name, (whole, tiled) in jobs.items():
            print_rows(f"{title}, {name}", {"full size": whole, "tiles": tiled}, rounds)


def measure_loading() -> None:
    """Seconds until the kernel is there, in processes of their own: without a cache on disk, with one, without Numba."""
    code = (
        "import time, torch; from atrous.labelling import prepare; torch.zeros(1); "
        "begin = time.perf_counter(); prepare(); print(f'{time.perf_counter() - begin:.2f}')"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for title in ("compiled anew", "from the cache on disk", "from the cache on disk"):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            print(f"kernel {title}: {done.stdout.strip()} s")


def measure_photographs(model: str, images: list[Path], rounds: int) -> None:
    """The ways on a real network's logits: milliseconds over all images, and labels that differ from torch's."""
    import atrous
    from atrous.images import read_image

    loaded = atrous.load(model, device="cpu")
    pairs = [
        (loaded.engine.coarse_logits(loaded.preprocessing.prepare(image)), (image.shape[0], image.shape[1]))
        for image in map(read_image, images)
    ]
    shares = [disagreeing_share(coarse) for coarse, _ in pairs]
    print(f"\n{len(images)} images, {statistics.mean(shares):.1%} of the cells disagree (at most {max(shares):.1%})")
    seconds: dict[str, list[float]] = {name: [] for name in LABELLING}
    wrong = dict.fromkeys(LABELLING, 0)
    for coarse, size in pairs:
        ways: dict[str, Callable[[], object]] = {name: partial(way, coarse, size) for name, way in LABELLING.items()}
        expected = plain.label_map(coarse, size)
        for name, times in alternate(ways, rounds).items():
            seconds[name].append(statistics.median(times))
            wrong[name] += int((LABELLING[name](coarse, size) != expected).sum())
    for name, times in seconds.items():
        print(f"{name}: {1000 * statistics.mean(times):.2f} ms an image, {wrong[name]} labels differ from torch's")


def measure_exactness(count: int) -> None:
    """Labels against torch's scores over random sizes: how far below the best score, over the range of the scores."""
    generator = np.random.default_rng(0)
    pixels, different, worst, unequal = 0, 0, 0.0, 0
    for _ in range(count):
        num_classes = int(generator.choice([2, 5, 21, 150, 300]))
        height, width = (int(number) for number in generator.integers(1, 40, 2))
        size = int(generator.integers(1, 200)), int(generator.integers(1, 200))
        coarse = torch.from_numpy(generator.standard_normal((1, num_classes, height, width)).astype(np.float32))
        labels = compiled(coarse, size)
        unequal += int((with_numpy(coarse, size) != labels).sum())
        scores = plain.resized(coarse, size)
        given = scores.gather(0, torch.from_numpy(labels.astype(np.int64))[None])[0]
        worst = max(worst, float((scores.amax(dim=0) - given).max() / (scores.max() - scores.min()).clamp_min(1e-6)))
        pixels += labels.size
        different += int((labels != plain.label_map(coarse, size)).sum())
    print(
        f"{count} random cases of noise: {different} of {pixels} labels differ from torch's, their scores at most "
        f"{worst:.1e} of the range below the best; NumPy and kernel differ in {unequal}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", type=Path)
    parser.add_argument("--model", help="a model file or run folder, for the images")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the cases, all by default")
    parser.add_argument("--parts", nargs="*", default=["labels", "bands", "loading", "exactness"])
    arguments = parser.parse_args()
    print(describe())
    print(f"numba: {metadata.version('numba')}, llvmlite: {metadata.version('llvmlite')}")
    if "loading" in arguments.parts:
        measure_loading()
    if "exactness" in arguments.parts:
        measure_exactness(300)
    if "labels" in arguments.parts:
        measure_labels(arguments.rounds, arguments.cases)
    if "bands" in arguments.parts:
        measure_bands(arguments.rounds)
    if arguments.model and arguments.images:
        measure_photographs(arguments.model, arguments.images, arguments.rounds)


if __name__ == "__main__":
    main()
