"""A simplified network for one machine and about one size: weights laid out, and each 3x3 convolution's fastest way."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from atrous.inference.convolution import FusedConv2d
from atrous.inference.tracing import layer_of
from atrous.polyphase.choice import choose, is_available
from atrous.polyphase.layer import PolyphaseConv2d, is_eligible
from atrous.polyphase.plain import PlainConv2d
from atrous.polyphase.transforms import SCHEMES

__all__ = ["LayerChoice", "Specialised", "SwitchedConv2d", "specialise"]

MARGIN = 0.05  # a way must be faster by this share, so that noise does not decide
ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """How one convolution is computed: its name in the graph, the way, and how many times as fast it is."""

    layer: str
    way: str
    faster: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Specialised:
    """The network, and what was chosen for its 3x3 convolutions; `bytes` is what their filters take beside the weights."""

    module: fx.GraphModule
    choices: tuple[LayerChoice, ...] = ()

    @property
    def bytes(self) -> int:
        """Memory of transformed filters."""
        return sum(choice.bytes for choice in self.choices)


class SwitchedConv2d(nn.Module):
    """A convolution by a faster way where the map's size allows it, else as it was."""

    def __init__(self, usual: FusedConv2d, faster: nn.Module) -> None:
        super().__init__()
        self.usual = usual
        self.faster = faster

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, K, H, W) of `x` (N, C, H, W)."""
        return self.faster(x) if self._fits(x.shape[-2], x.shape[-1]) else self.usual(x)

    def _fits(self, height: int, width: int) -> bool:
        if not isinstance(self.faster, PolyphaseConv2d):
            return True
        layer = self.faster.layer
        lines = (-(-height // layer.rate), -(-width // layer.rate))
        schemes = (SCHEMES[layer.vertical], SCHEMES[layer.horizontal])
        return all(scheme.fits(line) for scheme, line in zip(schemes, lines, strict=True))


def specialise(module: fx.GraphModule, image: Tensor, *, filtered: bool, most_bytes: int | None = None) -> Specialised:
    """Make a simplified network fast on this machine, in place, for images of about the size of `image`.

    Args:
        module: from `simplify`, on a CPU, float32; its convolutions are replaced or get their weights laid out.
        image: (1, bands, H, W) float32; what it holds does not matter.
        filtered: try the ways of `atrous.polyphase` for 3x3 convolutions, about half a second each; they take memory.
        most_bytes: leaves out ways whose transformed filters take more than this, of one convolution.
    """
    shapes = _shapes_of_inputs(module, image)
    choices: list[LayerChoice] = []
    for node, shape in shapes.items():
        fused = layer_of(module, node)
        assert isinstance(fused, FusedConv2d)
        fused.pack(shape)
        is_alone = len(node.args) == 1 and fused.activation in ("none", "relu")
        if filtered and is_alone and is_available() and is_eligible(fused.conv):
            choice = _choose(module, node, fused, shape, most_bytes)
            if choice is not None:
                choices.append(choice)
    module.recompile()
    return Specialised(module=module, choices=tuple(choices))


def _shapes_of_inputs(module: fx.GraphModule, image: Tensor) -> dict[fx.Node, torch.Size]:
    """The shape that each fused convolution reads, for images of this size."""
    with torch.inference_mode():
        ShapeProp(module).propagate(image)
    found: dict[fx.Node, torch.Size] = {}
    for node in module.graph.nodes:
        if isinstance(layer_of(module, node), FusedConv2d):
            found[node] = node.args[0].meta["tensor_meta"].shape
    return found


def _choose(
    module: fx.GraphModule, node: fx.Node, fused: FusedConv2d, shape: torch.Size, most_bytes: int | None
) -> LayerChoice | None:
    """Replace a convolution by its fastest way; None where it stays."""
    height, width = shape[-2:]
    relu = fused.activation == "relu"
    choice = choose(fused.conv, height, width, relu=relu, most_bytes=most_bytes)
    if choice.name == "plain":
        return None
    faster = _times_as_fast(fused, choice.module, shape)
    if faster < 1 + MARGIN:
        return None
    module.set_submodule(str(node.target), SwitchedConv2d(fused, choice.module))
    extra = choice.module.weight_bytes if isinstance(choice.module, PolyphaseConv2d) else 0
    assert isinstance(choice.module, PolyphaseConv2d | PlainConv2d)
    return LayerChoice(layer=str(node.target), way=choice.name, faster=faster, bytes=extra)


@torch.inference_mode()
def _times_as_fast(usual: nn.Module, other: nn.Module, shape: torch.Size) -> float:
    """The shortest time of one over that of the other; they take turns, because other programs disturb both alike then."""
    image = torch.rand(1, *shape[-2:], shape[1]).permute(0, 3, 1, 2)
    times: dict[Any, float] = {usual: float("inf"), other: float("inf")}
    for _ in range(ROUNDS):
        for layer in times:
            begin = time.perf_counter()
            layer(image)
            times[layer] = min(times[layer], time.perf_counter() - begin)
    return times[usual] / times[other]
