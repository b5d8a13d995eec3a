"""A DeepLab in two parts: the trunk, which looks near, and the head, which looks far.

The backbone sees a few dozen pixels around a place, ASPP's rates reach hundreds. So the backbone runs on windows with a
small margin, and its features are put together before the head reads them: what the head sees is the whole image's.
"""

import copy
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from atrous.inference import simplify, specialise
from atrous.inference.means import GlobalMean
from atrous.inference.tracing import UntraceableError
from atrous.models.deeplab import DeepLab
from atrous.models.heads import DeepLabV3Head, DeepLabV3PlusHead

__all__ = ["Trunk", "can_be_parted", "shared_copy"]

AnyModule = TypeVar("AnyModule", bound=nn.Module)

LOW_LEVEL_STRIDE = 4  # v3+ paper, section 3.1


def can_be_parted(network: nn.Module) -> str | None:
    """None where the network can be run in parts, else the reason why not."""
    if not isinstance(network, DeepLab):
        return f"a {type(network).__name__} is not one of atrous.models"
    if not isinstance(network.classifier, DeepLabV3Head | DeepLabV3PlusHead):
        return f"its head is a {type(network.classifier).__name__}"
    if any(isinstance(layer, nn.GroupNorm | nn.InstanceNorm2d) for layer in network.modules()):
        return "its group norm takes statistics over the image"
    return None


def shared_copy(module: AnyModule) -> AnyModule:
    """A copy of the modules over the same weights: its layers can be changed, and no weight is in memory twice."""
    tensors = (*module.parameters(), *module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


class _Features(nn.Module):
    """The backbone, and for v3+ the reduced low-level features; these are computed position by position."""

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.reduce = network.classifier.reduce if isinstance(network.classifier, DeepLabV3PlusHead) else None

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.backbone.features(image)
        if self.reduce is None:
            return features.high_level
        return features.high_level, self.reduce(features.low_level)


class Trunk:
    """The backbone of a DeepLab in eval mode, simplified, with the image's means held where it has some inside.

    Args:
        network: one that `can_be_parted`, in eval mode on its device; not changed.
        window: pixels a side of what it computes at a time, for which it is made fast.
        owns: whether nobody else needs the network's weights.
    """

    def __init__(self, network: DeepLab, *, window: int, owns: bool = False) -> None:
        self.window = window
        part = shared_copy(_Features(network)).eval()
        self._means = _replace_means(part)
        self.stride = network.backbone.output_stride
        self.has_low_level = part.reduce is not None
        self.device = next(network.parameters()).device
        self._module: nn.Module = part.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        try:
            module = simplify(part)
        except UntraceableError:
            return  # run as it is
        self._module = self._fast(module, part.backbone, window, owns)

    def _fast(self, module: fx.GraphModule, backbone: nn.Module, window: int, owns: bool) -> nn.Module:
        from atrous.allocator import give_back_freed_memory

        self._means = [layer for layer in module.modules() if isinstance(layer, GlobalMean)]
        if self.device.type != "cpu":
            return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        bands = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)).in_channels
        image = torch.zeros(1, bands, 1, 1).expand(1, bands, window, window)
        return specialise(module, image, filtered=False, owns=owns, tidy=give_back_freed_memory, sparing=True).module

    @property
    def has_means(self) -> bool:
        """Whether layers inside read the mean of the whole image (squeeze-and-excite)."""
        return bool(self._means)

    def reset(self) -> None:
        """Forget the last image's means."""
        for mean in self._means:
            mean.mean, mean.use = None, "own"

    @torch.inference_mode()
    def measure(self, patches: Tensor) -> list[Tensor]:
        """Take the means over patches (N, bands, H, W) of one image, and hold them from here on."""
        for mean in self._means:
            mean.use = "measure"
        self._module(patches.to(self.device))
        for mean in self._means:
            mean.use = "kept"
        return [mean.mean.cpu() for mean in self._means if mean.mean is not None]

    def hold(self, means: list[Tensor]) -> None:
        """Use means that `measure` gave before."""
        for mean, value in zip(self._means, means, strict=True):
            mean.mean, mean.use = value.to(self.device), "kept"

    @torch.inference_mode()
    def features(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """High-level features (1, C, h, w) and, for v3+, reduced low-level ones, of an image (1, bands, H, W)."""
        answer = self._module(image.to(self.device))
        return answer if isinstance(answer, tuple) else (answer, None)


def _replace_means(part: nn.Module) -> list[GlobalMean]:
    """Put a `GlobalMean` where the part pools over the whole image."""
    found: list[GlobalMean] = []
    for name, layer in list(part.named_modules()):
        if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
            mean = GlobalMean()
            parent, _, child = name.rpartition(".")
            setattr(part.get_submodule(parent), child, mean)
            found.append(mean)
    return found
