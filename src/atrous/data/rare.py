"""Rare classes: which they are, how they are drawn, and which images hold them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["RareClasses", "find_rare"]

FAIR_PART = 0.5


@dataclass(frozen=True, kw_only=True)
class RareClasses:
    """`chances` (K,) float64 say how often each class is drawn, 0 for one that is not rare, and sum to 1.

    `presence` (N, K) bool says which image of a split holds which class.
    """

    chances: NDArray[np.float64]
    presence: NDArray[np.bool_]

    def draw_within(self, index: int, rng: np.random.Generator) -> int | None:
        """A rare class that image `index` holds, None where it holds none."""
        chances = self.chances * self.presence[index]
        total = chances.sum()
        return int(rng.choice(len(chances), p=chances / total)) if total > 0 else None

    def draw_donor(self, rng: np.random.Generator) -> tuple[int, int]:
        """A rare class, and an image that holds it: (class, index)."""
        chosen = int(rng.choice(len(self.chances), p=self.chances))
        donors = self._donors[chosen]
        return chosen, int(donors[rng.integers(len(donors))])

    @cached_property
    def _donors(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(column) for column in self.presence.T]


def find_rare(pixels: NDArray[np.int64], presence: NDArray[np.bool_]) -> RareClasses | None:
    """The classes with less than half of an even share of the `pixels` (K,), drawn by one over the root of their share.

    None where there is no such class.
    """
    shares = pixels / max(int(pixels.sum()), 1)
    rare = (shares < FAIR_PART / len(pixels)) & presence.any(axis=0) & (pixels > 0)
    if not rare.any():
        return None
    chances = np.where(rare, 1 / np.sqrt(np.maximum(shares, 1e-12)), 0.0)
    return RareClasses(chances=chances / chances.sum(), presence=presence)
