"""Any network on an image of any size: overlapping windows whose logits are averaged with smooth weights.

Each window is an image of its own: image pooling and squeeze-and-excite see the window alone, and what lies far is not
seen. For networks that cannot be run in parts, and to compare with.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.preprocessing import Preprocessing

__all__ = ["Blended"]

STEP = 64  # windows begin at multiples of it: of every network's stride, and of what inputs are filled up to


class Blended:
    """Coarse logits of one image, in rows from the top down.

    Args:
        coarse_logits: the engine's, of a normalised image (H, W, bands).
        preprocessing: the model's; one that does not resize.
        size: height and width of the image in pixels.
        read: gives a rectangle of the image, (rows, columns, bands).
        window: pixels a side of a window, a multiple of `STEP`.
        overlap: pixels that neighbours share at least, a multiple of `STEP`.
        progress: hears the share of the work that is done, 0 to 1.
    """

    def __init__(
        self,
        coarse_logits: Callable[[NDArray[np.float32]], Tensor],
        preprocessing: Preprocessing,
        *,
        size: tuple[int, int],
        read: Callable[[slice, slice], NDArray[np.integer | np.floating]],
        window: int,
        overlap: int = 2 * STEP,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        if window % STEP or overlap % STEP or not 0 <= overlap < window:
            raise ValueError(f"window {window} and overlap {overlap} must be multiples of {STEP}, the overlap smaller")
        self._logits, self.preprocessing, self.read, self.progress = coarse_logits, preprocessing, read, progress
        self.size, self.window, self.overlap = size, window, overlap
        self.input_size = (max(window, -(-size[0] // STEP) * STEP), max(window, -(-size[1] // STEP) * STEP))
        self._tops, self._lefts = (_starts(length, window, overlap) for length in self.input_size)
        self._first: Tensor | None = None
        self.stride = self._find_stride()
        self.coarse_size = (self.input_size[0] // self.stride, self.input_size[1] // self.stride)

    @property
    def cover(self) -> tuple[float, float]:
        """The share of the coarse map that the image fills."""
        return self.size[0] / self.input_size[0], self.size[1] / self.input_size[1]

    @property
    def num_classes(self) -> int:
        """K."""
        assert self._first is not None
        return self._first.shape[1]

    def rows(self, first: int = 0) -> Iterator[tuple[int, Tensor]]:
        """The coarse logits from the row `first` on: (number of the top row, (1, K, rows, w)).

        It begins a little before; rows above `first` then lack the share of the windows above them.
        """
        tops = [top // self.stride for top in self._tops]
        side, (height, width) = self.window // self.stride, self.coarse_size
        begin = next(number for number, top in enumerate(tops) if top + side > first)
        weights = self._weights()
        total = np.zeros((side, width, self.num_classes), np.float32)
        share = np.zeros((side, width, 1), np.float32)
        for number in range(begin, len(tops)):
            for left in self._lefts:
                at = slice(left // self.stride, left // self.stride + side)
                is_known = number == 0 and left == 0  # from finding the stride
                found = self._first if is_known and self._first is not None else self._window(self._tops[number], left)
                logits = found[0].permute(1, 2, 0).cpu().numpy()
                total[:, at] += weights * logits
                share[:, at] += weights
            last = number + 1 == len(tops)
            final = side if last else tops[number + 1] - tops[number]
            yield tops[number], torch.from_numpy((total[:final] / share[:final])[None]).permute(0, 3, 1, 2)
            for array in (total, share):
                array[: side - final] = array[final:].copy()
                array[side - final :] = 0
            self.progress((number + 1) / len(tops))
        assert tops[-1] + side == height

    def close(self) -> None:
        """Nothing is held."""

    def _window(self, top: int, left: int) -> Tensor:
        bottom, right = min(top + self.window, self.size[0]), min(left + self.window, self.size[1])
        part = self.preprocessing.normalise(self.read(slice(top, bottom), slice(left, right)))
        missing = (self.window - part.shape[0], self.window - part.shape[1])
        return self._logits(np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else part)

    def _find_stride(self) -> int:
        self._first = self._window(0, 0)
        return self.window // self._first.shape[2]

    def _weights(self) -> NDArray[np.float32]:
        """Weights (side, side, 1) that fall off over the overlap, never to 0."""
        side, ramp = self.window // self.stride, max(1, self.overlap // self.stride)
        place = np.arange(side, dtype=np.float32)
        line = np.minimum(1, (np.minimum(place, side - 1 - place) + 0.5) / ramp)
        return (line[:, None] * line[None])[..., None]


def _starts(length: int, window: int, overlap: int) -> list[int]:
    """Where windows begin: the last one ends with the image."""
    count = 1 + max(0, -(-(length - window) // (window - overlap)))
    if count == 1:
        return [0]
    return [round(number * (length - window) / (count - 1) / STEP) * STEP for number in range(count)]
