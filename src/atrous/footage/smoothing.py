"""Temporal smoothing: the mean of the probabilities of a frame and of those before it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from atrous.engines import Coarse
from atrous.errors import ConfigError

__all__ = ["Smoothing"]

LEAST = 1e-30  # a probability of 0 has no logarithm


class Smoothing:
    """An exponential mean over frames, at the network's own stride: a frame `half_life` frames back counts half.

    What it gives are logarithms of the mean probabilities. These are logits again: between coarse positions they are
    interpolated as the network's own are, so that with a mean of one frame every label is what it was without.

    Raises:
        ConfigError: a half-life that is not above 0.
    """

    def __init__(self, half_life: float) -> None:
        if not 0 < half_life < float("inf"):
            raise ConfigError(f"--smooth {half_life:g}; expected the half-life in frames, above 0: 2 to 5 are usual.")
        self.newest = 1 - 0.5 ** (1 / half_life)
        """The weight of the newest frame."""
        self._means: list[Tensor] = []

    def restart(self) -> None:
        """Forget the frames so far: at a cut they say nothing about the next."""
        self._means = []

    @torch.inference_mode()
    def smooth(self, views: Sequence[Coarse]) -> tuple[Coarse, ...]:
        """The views of the next frame, with what the frames before say mixed in."""
        shares = [view.logits.float().softmax(dim=1) for view in views]
        if [mean.shape for mean in self._means] == [share.shape for share in shares]:
            means = zip(self._means, shares, strict=True)
            self._means = [mean + self.newest * (share - mean) for mean, share in means]
        else:
            self._means = shares
        return tuple(
            Coarse(mean.clamp_min(LEAST).log(), view.cover, view.mirrored)
            for mean, view in zip(self._means, views, strict=True)
        )
