"""How long do regions and polygons of a large label map take beside rasterio, and are their areas exact?

Each side in processes that alternate; rasterio is GDAL's polygoniser (`pip install rasterio`). All run on one thread, so
seconds are the processor's, which other work on the machine hardly changes.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.labels import Labels
from atrous.regions import find_regions, outlines, polygons
from machine import describe

SIZE = (3000, 4000)
CLASSES = 8
LABELS = Labels.numbered(CLASSES)
KINDS = {"few regions": 256, "many regions": 32, "very many regions": 8}  # how large they are, in pixels
ROUNDS = 3


def label_map(cell: int) -> NDArray[np.uint8]:
    """The best of smooth random scores: (H, W)."""
    rng = np.random.default_rng(0)
    best, labels = np.full(SIZE, -np.inf, np.float32), np.zeros(SIZE, np.uint8)
    for class_id in range(CLASSES):
        grid = rng.standard_normal((SIZE[0] // cell + 2, SIZE[1] // cell + 2)).astype(np.float32)
        scores = np.asarray(cv2.resize(grid, SIZE[::-1], interpolation=cv2.INTER_CUBIC))
        labels[scores > best] = class_id
        np.maximum(best, scores, out=best)
    return labels


def from_rasterio(labels: NDArray[np.uint8]) -> list[list[list[list[float]]]]:
    """The rings of GDAL's polygons."""
    from rasterio.features import shapes

    return [geometry["coordinates"] for geometry, _ in shapes(labels, connectivity=4)]


def from_atrous(labels: NDArray[np.uint8]) -> list[list[list[list[float]]]]:
    """The rings of the package's polygons."""
    return [feature["geometry"]["coordinates"] for feature in polygons(labels, LABELS)]


SIDES: dict[str, Callable[[NDArray[np.uint8]], list]] = {
    "rasterio": from_rasterio,
    "polygons": from_atrous,
    "outlines": lambda labels: outlines(labels, LABELS),
    "simplified": lambda labels: outlines(labels, LABELS, simplify=1.5),
    "regions": lambda labels: find_regions(labels, LABELS),
}


def area(rings: list[list[list[float]]]) -> float:
    """Of the outer ring less that of its holes."""
    sizes = [abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))) / 2 for ring in rings]
    return sizes[0] - sum(sizes[1:])


def peak() -> int:
    """The most memory of this process since the last reset, in megabytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def one_process(side: str, kind: str) -> None:
    """Print seconds, megabytes needed more at the peak, how many regions there are, and whether areas are exact."""
    labels = label_map(KINDS[kind])
    SIDES[side](labels[:64, :64].copy())  # what is imported at first use
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    begin = time.process_time()
    found = SIDES[side](labels)
    seconds = time.process_time() - begin
    added = peak() - before
    exact = "-"
    if side in ("rasterio", "polygons"):
        expected = sorted(region.area_pixels for region in find_regions(labels, LABELS))
        exact = "exact" if sorted(map(area, found)) == expected else "not-exact"
    print(seconds, added, len(found), exact)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if arguments.child:
        one_process(*arguments.child)
        return
    print(describe())
    print(f"{SIZE[0]}x{SIZE[1]}, {CLASSES} classes; medians of {arguments.rounds} rounds, all sides in turn")
    megapixels = SIZE[0] * SIZE[1] / 1e6
    for kind in KINDS:
        times: dict[str, list[float]] = {side: [] for side in SIDES}
        rest: dict[str, list[str]] = {}
        for _ in range(arguments.rounds):
            for side in SIDES:
                command = [sys.executable, __file__, "--child", side, kind]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                seconds, *rest[side] = done.stdout.split()
                times[side].append(float(seconds))
        for side, seconds in times.items():
            ratios = [one / other for one, other in zip(seconds, times["rasterio"], strict=True)]
            print(
                f"{kind}, {side}: {statistics.median(seconds) / megapixels * 1000:.0f} ms a megapixel, "
                f"{statistics.median(ratios):.2f} of rasterio's time, {rest[side][0]} MB more, "
                f"{rest[side][1]} regions, areas {rest[side][2]}"
            )


if __name__ == "__main__":
    main()
