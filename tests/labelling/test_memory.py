"""The scores at full size never exist: 150 classes at 420x420 would be 106 MB."""

import tracemalloc
from pathlib import Path

import pytest
import torch
from random_logits import random_logits

from atrous.labelling import averaged, label_map, label_map_and_confidence, thresholded
from atrous.labelling.bands import TILE_BYTES
from atrous.labelling.blocks import BLOCK_BYTES

CLASSES, SIZE = 150, (420, 420)
VOLUME = 4 * CLASSES * SIZE[0] * SIZE[1]
LABELS = SIZE[0] * SIZE[1]


def numpy_peak(work):
    """The most bytes that NumPy held while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layout", ["planes", "channels last"])
@pytest.mark.parametrize(
    ("kind", "coarse_size", "size"),
    [
        ("smooth", (53, 53), SIZE),
        ("noise", (53, 53), SIZE),
        ("noise", (200, 200), SIZE),
        ("noise", (2, 2), SIZE),
        ("noise", (200, 200), (90, 90)),
    ],
)
def test_labels_from_numpy(without_kernel, layout, kind, coarse_size, size):
    coarse = random_logits(0, CLASSES, coarse_size, kind=kind, layout=layout)
    # Of the coarse grid: the best class and its score, and the numbers of cells.
    grid = 16 * coarse_size[0] * coarse_size[1]
    assert numpy_peak(lambda: label_map(coarse, size)) < 2 * LABELS + grid + BLOCK_BYTES


@pytest.mark.parametrize("coarse_size", [(53, 53), (2, 2), (100, 430)])
def test_bands(without_kernel, coarse_size):
    coarse = random_logits(0, CLASSES, coarse_size, kind="noise")
    assert numpy_peak(lambda: thresholded(coarse, SIZE, [0.1] * CLASSES)) < LABELS + TILE_BYTES
    assert numpy_peak(lambda: averaged([coarse, coarse], SIZE, flipped=[False, True])) < LABELS + TILE_BYTES
    bound = 5 * LABELS + BLOCK_BYTES + 16 * coarse_size[0] * coarse_size[1]
    assert numpy_peak(lambda: label_map_and_confidence(coarse, SIZE)) < bound


def process_peak():
    """The most memory of this process since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_labels_from_the_kernel(with_kernel):
    coarse = random_logits(0, CLASSES, (53, 53), kind="noise")
    label_map(coarse, (8, 8))  # compile
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is held now
    except OSError:
        pytest.skip("the peak of memory cannot be reset here")
    before = process_peak()
    label_map(coarse, SIZE)
    assert process_peak() - before < VOLUME // 10


def test_tensors_are_read_where_they_lie(with_kernel, monkeypatch):
    """No layout is copied on the way to the kernel."""
    copies = []
    for name in ("contiguous", "clone"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *_, **__: copies.append(self))
    coarse = random_logits(0, 5, (9, 9)).to(memory_format=torch.channels_last)
    label_map(coarse, (20, 20))
    assert not copies
