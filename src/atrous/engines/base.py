"""What every engine has in common: its few methods, coarse logits, and devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.errors import ConfigError

__all__ = ["Coarse", "Engine", "choose_device"]


@dataclass(frozen=True)
class Coarse:
    """Logits (1, K, h, w) float32 at the network's own stride, and how they lie over the image.

    `cover` is the share of the map's height and width, from the top left, that the image fills; the rest lies over what
    its input was filled up with. `mirrored` says that the image went in with left and right exchanged.
    """

    logits: Tensor
    cover: tuple[float, float] = (1.0, 1.0)
    mirrored: bool = False

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits.shape[1]


class Engine(Protocol):
    """Runs a network. `name` and `precision` are recorded with every score; `reason` says why it was taken."""

    name: str
    precision: str
    reason: str

    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 at the network's own stride, of one normalised image (H, W, C).

        A foreign network's are at its own size. An image's logits never depend on other images.
        """
        ...

    def logits_of_many(self, images: Sequence[NDArray[np.float32]]) -> Tensor:
        """Logits (N, K, h, w) of normalised images (H, W, C) of one size; on a CPU those that each has by itself."""
        ...

    def expect(self, images: int) -> None:
        """Say how many images are to come, so that the engine knows what preparations pay."""
        ...


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes a GPU (CUDA, then Apple's MPS) where there is one.

    Raises:
        ConfigError: a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {name!r} cannot be used here ({reason}); expected auto, cpu, cuda, cuda:N or mps. "
            "`atrous env` lists this machine's devices."
        ) from None
    return device
