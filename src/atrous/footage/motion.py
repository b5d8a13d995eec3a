"""What changes between frames: in the image, and in the labels where the image does not."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Flicker", "Motion", "Watcher"]

STILL_UNITS = 3.0
"""Of 255: a pixel is still where the grey image changes by less, as a mean over the square around it. Noise of a camera
and of compression stays below, and a label that changes there changes without a reason in the image."""
STILL_SIDE = 5  # pixels of that square
CUT_UNITS = 30.0
"""Of 255: a cut to another scene where the grey image changes by more, as a mean over all pixels. A hand-held camera
changes it by five to twenty."""


class Motion(NamedTuple):
    """Between a frame and the one before: `still` (H, W) is 255 where the image hardly changes, else 0."""

    still: NDArray[np.uint8]
    is_cut: bool


class Watcher:
    """Compares every frame with the one before."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def see(self, pixels: NDArray[np.uint8]) -> Motion | None:
        """The motion since the last frame, of a frame (H, W, 3) uint8 RGB; None for the first one."""
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
        last, self._last = self._last, grey
        if last is None:
            return None
        change = cv2.absdiff(grey, last)
        # The sum over the square is exact, where a mean in bytes would be rounded.
        sums = cv2.boxFilter(
            change, cv2.CV_16U, (STILL_SIDE, STILL_SIDE), normalize=False, borderType=cv2.BORDER_REFLECT
        )
        still = cv2.inRange(sums, 0, STILL_UNITS * STILL_SIDE**2 - 1)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return Motion(np.asarray(still, np.uint8), cv2.mean(change)[0] > CUT_UNITS)


class Flicker:
    """The share of still pixels whose label changes from one frame to the next, over all pairs of frames."""

    def __init__(self) -> None:
        self._last: NDArray[np.integer] | None = None
        self.still_pixels = 0
        self.changed_pixels = 0

    def see(self, label_map: NDArray[np.integer], motion: Motion | None) -> None:
        """Take the labels (H, W) of the next frame, and its motion since the last one."""
        if self._last is not None and motion is not None:
            changed = (label_map != self._last).view(np.uint8)
            self.still_pixels += cv2.countNonZero(motion.still)
            self.changed_pixels += cv2.countNonZero(cv2.bitwise_and(motion.still, motion.still, mask=changed))
        self._last = label_map

    @property
    def share(self) -> float | None:
        """0 to 1; None where no pixel was still."""
        return self.changed_pixels / self.still_pixels if self.still_pixels else None
