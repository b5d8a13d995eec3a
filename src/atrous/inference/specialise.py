"""A simplified network for one machine and about one size: weights laid out, and each 3x3 convolution's fastest way."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from atrous.inference.bands import band
from atrous.inference.convolution import FusedConv2d, LazyConv2d
from atrous.inference.simplify import EXAMPLE
from atrous.inference.tracing import layer_of
from atrous.polyphase.choice import choose, is_available
from atrous.polyphase.layer import PolyphaseConv2d, is_eligible
from atrous.polyphase.plain import PlainConv2d
from atrous.polyphase.transforms import SCHEMES

__all__ = ["LayerChoice", "Specialised", "SwitchedConv2d", "specialise"]

MARGIN = 0.05  # a way must be faster by this share, so that noise does not decide
ROUNDS = 5
FLOAT_BYTES = 4
LARGE_MAP = 8 << 20  # bytes from which fresh memory, which costs some milliseconds, is better than holes


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

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return self.usual.out_channels

    def _fits(self, height: int, width: int) -> bool:
        if not isinstance(self.faster, PolyphaseConv2d):
            return True
        layer = self.faster.layer
        lines = (-(-height // layer.rate), -(-width // layer.rate))
        schemes = (SCHEMES[layer.vertical], SCHEMES[layer.horizontal])
        return all(scheme.fits(line) for scheme, line in zip(schemes, lines, strict=True))


def specialise(
    module: fx.GraphModule,
    image: Tensor,
    *,
    filtered: bool,
    most_bytes: int | None = None,
    owns: bool = False,
    tidy: Callable[[], object] | None = None,
    sparing: bool = False,
) -> Specialised:
    """Make a simplified network fast on this machine, in place, for images of about the size of `image`.

    Afterwards it is only good for running: weights are laid out when they are first used, and given back as they were.

    Args:
        module: from `simplify`, on a CPU, float32; its convolutions are replaced or get their weights laid out.
        image: (1, bands, H, W) float32; what it holds does not matter.
        filtered: try the ways of `atrous.polyphase` for 3x3 convolutions, about half a second each; they take memory.
        most_bytes: leaves out ways whose transformed filters take more than this, of one convolution.
        owns: whether nobody else needs the network that `module` comes from, so that its weights can go.
        tidy: called after the weights of a large layer were laid out, to give back the memory that it took.
        sparing: call `tidy` before each large map too, which spares memory and costs time.
    """
    tried = filtered and is_available()
    band(module, (image.shape[-2], image.shape[-1]), leave=lambda layer: tried and _has_ways(layer))
    if tidy is not None and sparing:
        _tidy_before_large(module, (image.shape[-2], image.shape[-1]), tidy)
    for layer in module.modules():
        if isinstance(layer, FusedConv2d):
            layer.packs, layer.owns, layer.tidy = True, owns, tidy
    if not tried:
        return Specialised(module=module)
    trial = _Trial(module, most_bytes, tidy)
    with torch.inference_mode():
        trial.run(image)
    module.recompile()
    return Specialised(module=module, choices=tuple(trial.choices))


def _tidy_before_large(module: fx.GraphModule, size: tuple[int, int], tidy: Callable[[], object]) -> None:
    """Give freed memory back before each large map: it fits none of the holes that smaller ones left."""
    for node in list(module.graph.nodes):
        shape = node.meta.get("shape")
        if node.op != "call_module" or shape is None or len(shape) != 4:
            continue
        if FLOAT_BYTES * shape.numel() * size[0] * size[1] // (EXAMPLE[0] * EXAMPLE[1]) >= LARGE_MAP:
            with module.graph.inserting_before(node):
                module.graph.call_function(tidy)
    module.recompile()


class _Trial(fx.Interpreter):
    """Runs the network once and replaces each convolution before its turn, where another way is faster."""

    def __init__(self, module: fx.GraphModule, most_bytes: int | None, tidy: Callable[[], object] | None) -> None:
        super().__init__(module)
        self.tidy = tidy
        self.graph_module = module
        self.most_bytes = most_bytes
        self.choices: list[LayerChoice] = []

    def run_node(self, n: fx.Node) -> Any:
        """Choose and run."""
        layer = layer_of(self.graph_module, n)
        if isinstance(layer, FusedConv2d) and _has_ways(layer) and len(n.args) == 1:
            (x,), _ = self.fetch_args_kwargs_from_env(n)
            choice = _choose(self.graph_module, n, layer, x, self.most_bytes)
            if choice is not None:
                self.choices.append(choice)
            if self.tidy is not None:
                self.tidy()
        return super().run_node(n)


def _has_ways(layer: nn.Module) -> bool:
    """Whether there is more than one way to compute a layer; weights that are made later will be on the CPU."""
    if not isinstance(layer, FusedConv2d) or layer.activation not in ("none", "relu"):
        return False
    conv = copy.copy(layer.conv)
    if isinstance(conv, LazyConv2d):
        conv._parameters = {"weight": nn.Parameter(torch.empty(0), requires_grad=False)}
    return is_eligible(conv)


def _choose(
    module: fx.GraphModule, node: fx.Node, fused: FusedConv2d, x: Tensor, most_bytes: int | None
) -> LayerChoice | None:
    """Replace a convolution by its fastest way; None where it stays."""
    fused.fill(for_good=fused.owns)
    conv = fused.conv.solid() if isinstance(fused.conv, LazyConv2d) else fused.conv
    height, width = x.shape[-2:]
    relu = fused.activation == "relu"
    choice = choose(conv, height, width, relu=relu, most_bytes=most_bytes, image=x[:1])
    if choice.name == "plain":
        return None
    faster = _times_as_fast(fused, choice.module, x)
    if faster < 1 + MARGIN:
        return None
    module.set_submodule(str(node.target), SwitchedConv2d(fused, choice.module))
    extra = choice.module.weight_bytes if isinstance(choice.module, PolyphaseConv2d) else 0
    assert isinstance(choice.module, PolyphaseConv2d | PlainConv2d)
    return LayerChoice(layer=str(node.target), way=choice.name, faster=faster, bytes=extra)


@torch.inference_mode()
def _times_as_fast(usual: nn.Module, other: nn.Module, x: Tensor) -> float:
    """The shortest time of one over that of the other; they take turns, because other programs disturb both alike then."""
    times: dict[Any, float] = {usual: float("inf"), other: float("inf")}
    for _ in range(ROUNDS):
        for layer in times:
            begin = time.perf_counter()
            layer(x)
            times[layer] = min(times[layer], time.perf_counter() - begin)
    return times[usual] / times[other]
