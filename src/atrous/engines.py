"""What runs a network: one class per engine, all with the same few methods.

For now there is PyTorch alone, in float32, so every score is the plain module's.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from atrous.errors import ConfigError
from atrous.models.deeplab import DeepLab

__all__ = [
    "Coarse",
    "Engine",
    "TorchEngine",
    "best_class",
    "choose_device",
    "label_map",
    "probabilities",
    "resize_logits",
]


@dataclass(frozen=True)
class Coarse:
    """Logits (1, K, h, w) float32 at the network's own stride, and how they lie over the image.

    `cover` is the share of the map's height and width, from the top left, that the image fills; the rest lies over what
    its input was filled up with.
    """

    logits: Tensor
    cover: tuple[float, float] = (1.0, 1.0)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.logits.shape[1]


class Engine(Protocol):
    """Runs a network; `name` and `precision` are recorded with every score."""

    name: str
    precision: str

    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 at the network's own stride, of one normalised image (H, W, C)."""
        ...


ROUNDING = 1e-9  # a last row must not be lost because a product of two roundings is just below a whole number


class TorchEngine:
    """The network as it is, in eval mode, channels last, float32."""

    name = "torch"
    precision = "float32"

    def __init__(self, network: nn.Module, *, device: torch.device) -> None:
        self.network = network
        self.device = device

    @torch.inference_mode()
    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 of one normalised image (H, W, C); a foreign network's are at its own size."""
        self.network.eval()
        tensor = torch.from_numpy(image[None]).permute(0, 3, 1, 2).to(self.device)
        if isinstance(self.network, DeepLab):
            return self.network.coarse_logits(tensor).float()
        logits = self.network(tensor)
        if isinstance(logits, dict):  # torchvision's networks answer with {"out": ..., "aux": ...}
            logits = logits["out"]
        return logits.float()


@torch.inference_mode()
def resize_logits(coarse: Coarse, size: tuple[int, int]) -> Tensor:
    """Resize logits bilinearly (half-pixel centres) to the image's `size`: (1, K, height, width)."""
    logits = coarse.logits
    if coarse.cover == (1.0, 1.0):
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    # The whole map to the size that its input would have at the image's scale, whole pixels or not; then the image's part.
    factors = tuple(
        length / share / points * (1 + ROUNDING)
        for length, share, points in zip(size, coarse.cover, logits.shape[-2:], strict=True)
    )
    whole = functional.interpolate(
        logits, scale_factor=factors, mode="bilinear", align_corners=False, recompute_scale_factor=False
    )
    return whole[..., : size[0], : size[1]]


@torch.inference_mode()
def best_class(logits: Tensor) -> NDArray[np.integer]:
    """The class with the highest logit of every pixel: (H, W) uint8, uint16 above 256 classes, of (1, K, H, W)."""
    best = logits[0].argmax(dim=0)
    return best.cpu().numpy().astype(np.uint8 if logits.shape[1] <= 256 else np.uint16)


def label_map(coarse: Coarse, size: tuple[int, int]) -> NDArray[np.integer]:
    """The best class of every pixel of an image of `size` (height, width)."""
    return best_class(resize_logits(coarse, size))


def probabilities(coarse: Coarse, size: tuple[int, int]) -> NDArray[np.float32]:
    """The softmax of the resized logits: (K, height, width) float32."""
    return resize_logits(coarse, size)[0].softmax(dim=0).cpu().numpy()


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
