"""PyTorch runs the network: as it is, or simplified and made fast for this machine."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from atrous.allocator import give_back_freed_memory, keep_freed_memory
from atrous.engines.remembered import read_choices, write_choices
from atrous.inference import Specialised, multiply_adds, simplify, specialise
from atrous.inference.tracing import UntraceableError
from atrous.models.deeplab import DeepLab
from atrous.polyphase.choice import is_available

__all__ = ["PlainEngine", "TorchEngine", "state_of"]

WORTH_FILTERING = 3e12
"""Multiply-adds of a job from which trying the ways of every 3x3 convolution pays: some seconds, once. With it a
ResNet-50 saves half a second and a MobileNetV3 some milliseconds an image."""
LARGE_IMAGE = 1 << 20  # pixels
MOST_FILTER_BYTES = 256 << 20  # of one convolution; the largest here, 2048 to 256 channels, takes 128 MB


def logits_of(answer: object) -> Tensor:
    """A network's logits; torchvision's networks answer with {"out": ..., "aux": ...}."""
    logits = answer["out"] if isinstance(answer, dict) else answer
    assert isinstance(logits, Tensor)
    return logits.float()


def as_input(image: NDArray[np.float32]) -> Tensor:
    """A normalised image (H, W, C) as (1, C, H, W) in channels_last memory."""
    return torch.from_numpy(image[None]).permute(0, 3, 1, 2)


class PlainEngine:
    """The network as it is, in eval mode, channels last, float32: what the others must equal."""

    name = "plain"
    precision = "float32"

    def __init__(self, network: nn.Module, *, device: torch.device, reason: str = "as asked") -> None:
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.device = device
        self.reason = reason

    @torch.inference_mode()
    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 of one normalised image (H, W, C)."""
        return self.coarse_of(as_input(image))

    @torch.inference_mode()
    def logits_of_many(self, images: Sequence[NDArray[np.float32]]) -> Tensor:
        """Logits (N, K, h, w): one by one on a CPU, at once elsewhere."""
        if self.device.type == "cpu":
            return torch.cat([self.coarse_logits(image) for image in images])
        return self.coarse_of(torch.cat([as_input(image) for image in images]))

    def coarse_of(self, batch: Tensor) -> Tensor:
        """Logits of images (N, C, H, W)."""
        self.network.eval()
        batch = batch.to(self.device)
        if isinstance(self.network, DeepLab):
            return self.network.coarse_logits(batch).float()
        return logits_of(self.network(batch))

    def expect(self, images: int) -> None:
        """Nothing pays but to run it."""


class TorchEngine:
    """The network simplified: batch norm folded, sums and activations inside convolutions, pooling as a bias.

    On a CPU weights are laid out once and, for a job that is large enough, 3x3 convolutions computed in the way that is
    fastest here (`atrous.polyphase`). The network is followed: when its weights change, so does what is run.
    """

    name = "torch"
    precision = "float32"

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        filtered: bool | None = None,
        owns: bool = False,
        reason: str = "",
    ) -> None:
        """Take a network over.

        Args:
            network: in any mode; put into eval mode.
            device: where it runs.
            filtered: whether trials are made; None decides by the size of the job.
            owns: whether nobody else has the network. Its weights are then given back as they are laid out.
            reason: why this engine was taken.
        """
        self._network: nn.Module | None = network
        self._owns = owns and device.type == "cpu"
        self.device = device
        self.filtered = filtered
        self.reason = reason
        self.specialised: Specialised | None = None
        self._images = 1
        self._is_new = False
        self._seen: tuple[int, ...] = ()

    def expect(self, images: int) -> None:
        """Say how many images are to come; only before the first one is it decided what preparations pay."""
        self._images = images

    def coarse_logits(self, image: NDArray[np.float32]) -> Tensor:
        """Logits (1, K, h, w) float32 of one normalised image (H, W, C)."""
        batches = [as_input(image)]
        del image
        return self._coarse_of(batches)

    def logits_of_many(self, images: Sequence[NDArray[np.float32]]) -> Tensor:
        """Logits (N, K, h, w): one by one on a CPU, at once elsewhere."""
        if self.device.type == "cpu":
            return torch.cat([self.coarse_logits(image) for image in images])
        return self._coarse_of([torch.cat([as_input(image) for image in images])])

    def _coarse_of(self, batches: list[Tensor]) -> Tensor:
        """Logits of the only one of `batches`, which is taken out: its memory is free again after the first layers.

        A normalised image is often larger than any map that comes later.
        """
        with torch.inference_mode():
            batches[0] = batches[0].to(self.device)
            if self._network is not None:
                seen = state_of(self._network)
                if seen != self._seen:
                    self._prepare(self._network, batches[0])
                    self._seen = seen
            if self.specialised is None:
                assert self._network is not None
                return PlainEngine(self._network, device=self.device).coarse_of(batches.pop())
            logits = logits_of(self.specialised.module.forward(batches.pop()))
            if self._is_new:
                self._is_new = False
                give_back_freed_memory()  # what preparations took
            return logits

    def _prepare(self, network: nn.Module, image: Tensor) -> None:
        self.specialised = None
        self._is_new = True  # its weights are laid out while the first image is computed
        network.eval()
        try:
            module = simplify(network)
        except UntraceableError as error:
            self.reason = f"run as it is: its graph cannot be followed ({error})".splitlines()[0]
            return
        if self.device.type != "cpu":
            module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
            self.specialised = Specialised(module=module)
            return
        if self._owns:
            self._network = None
        del network
        filtered = self._pays(module, image) if self.filtered is None else self.filtered
        # Maps of a large image that come and go leave holes of a hundred megabytes. In a large job speed counts more.
        sparing = not filtered and image.shape[-2] * image.shape[-1] >= LARGE_IMAGE
        if filtered:
            read_choices()
        self.specialised = specialise(
            module,
            image,
            filtered=filtered,
            most_bytes=MOST_FILTER_BYTES,
            owns=self._owns,
            tidy=give_back_freed_memory,
            sparing=sparing,
        )
        if filtered:
            write_choices()
            self.reason = self._told()
            keep_freed_memory()

    def _pays(self, module: fx.GraphModule, image: Tensor) -> bool:
        """Whether the job is large enough for trials."""
        size = (image.shape[-2], image.shape[-1])
        return is_available() and multiply_adds(module, size) * self._images >= WORTH_FILTERING

    def _told(self) -> str:
        choices = () if self.specialised is None else self.specialised.choices
        if not choices or self.specialised is None:
            return "no 3x3 convolution is faster another way here"
        least, most = (f"{end(choice.faster for choice in choices):.1f}" for end in (min, max))
        return (
            f"{len(choices)} of its 3x3 convolutions computed {least if least == most else f'{least} to {most}'} times as "
            f"fast; their filters take {self.specialised.bytes / 2**20:.0f} MB"
        )


def state_of(network: nn.Module) -> tuple[int, ...]:
    """What changes when one of the network's weights does."""
    tensors = [*network.parameters(), *network.buffers()]
    return tuple(
        number for value in tensors for number in (value.data_ptr(), 0 if value.is_inference() else value._version)
    )
