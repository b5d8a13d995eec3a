"""Label maps for tests of regions, and plain ways to read polygons back."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from atrous.labels import Labels

LABELS = Labels.numbered(3)
VOID = 255
MAPS = arrays.arrays(
    np.uint8,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
    elements=st.sampled_from([0, 0, 1, 1, 2, VOID]),
)


def blobs(size: tuple[int, int], *, cell: int, classes: int = 3, seed: int = 0, void: float = 0.0) -> NDArray[np.uint8]:
    """Regions like a network's: the best of smooth random scores; and scattered void pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.arange(length) / cell for length in size)
    scores = []
    for _ in range(classes):
        grid = rng.standard_normal((size[0] // cell + 2, size[1] // cell + 2))
        down = np.stack([np.interp(rows, np.arange(len(grid)), column) for column in grid.T], axis=1)
        scores.append(np.stack([np.interp(columns, np.arange(len(row)), row) for row in down]))
    label_map = np.argmax(scores, axis=0).astype(np.uint8)
    label_map[rng.random(size) < void] = VOID
    return label_map


def filled(rings: list[list[list[float]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels with an odd number of upright edges to their left; rings along the pixel edges, closed or not."""
    edges = np.zeros((shape[0], shape[1] + 1), np.uint8)
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise([*ring, ring[0]]):
            if x0 == x1:
                edges[int(min(y0, y1)) : int(max(y0, y1)), int(x0)] ^= 1
    return np.bitwise_xor.accumulate(edges, axis=1)[:, :-1].astype(bool)


def doubled_area(ring: list[list[float]]) -> float:
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise(ring))


def rings_of(feature: dict[str, Any]) -> list[list[list[float]]]:
    return feature["geometry"]["coordinates"]
