"""The mean over the whole image, for a network that sees it window by window."""

from typing import Literal

from torch import Tensor, nn

__all__ = ["GlobalMean"]


class GlobalMean(nn.Module):
    """In the place of a global average pooling: takes the mean of what it sees, or gives one that was taken before.

    Squeeze-and-excite and image pooling read the whole image's mean. When `measure`, this takes the mean over all windows
    of a batch together, so that every layer after it sees what it would see of one image; else it gives that mean.
    """

    def __init__(self) -> None:
        super().__init__()
        self.use: Literal["measure", "own", "kept"] = "own"
        self.mean: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (1, C, 1, 1), or (N, C, 1, 1) for each image's own, of `x` (N, C, H, W)."""
        if self.use == "kept" and self.mean is not None:
            return self.mean
        if self.use == "own":
            return x.mean((2, 3), keepdim=True)
        self.mean = x.mean((0, 2, 3), keepdim=True)
        return self.mean
