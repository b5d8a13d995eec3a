"""Which way of computing a 3x3 convolution is the fastest on this machine: a short trial."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from atrous.polyphase.layer import PolyphaseConv2d, is_eligible
from atrous.polyphase.plain import PlainConv2d
from atrous.polyphase.tiles import tile_map
from atrous.polyphase.transforms import SCHEMES

__all__ = ["Choice", "candidates", "choose", "is_available"]

# A way must be this much faster than the plain one, so that noise does not decide; and of two ways that differ by less,
# the one with the smaller filters is taken.
MARGIN = 0.05
# No more rounds for a way that took this many times as long as the fastest.
HOPELESS = 1.5
LEAST_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen way.

    Attributes:
        module: takes (N, C, H, W), gives (N, K, H, W); the plain one is the given convolution itself with ReLU.
        name: `plain`, `shifted` (nine matrix products, where they see the image), or the schemes along y and x.
        seconds: the shortest time of each way that was tried, by name.
        reason: a sentence for the user.
    """

    module: nn.Module
    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    reason: str


def is_available() -> bool:
    """Whether the compiled ways can be used: Numba is installed (the extra `fast`)."""
    return find_spec("numba") is not None


def candidates(conv: nn.Conv2d, height: int, width: int) -> list[tuple[str, str]]:
    """The pairs of schemes that are worth a trial for maps of that size; none where the convolution is not eligible."""
    if not is_eligible(conv) or min(conv.in_channels, conv.out_channels) < LEAST_CHANNELS or not height * width:
        return []
    rate = int(conv.dilation[0])
    axes = []
    for length in (height, width):
        longest = -(-length // rate)
        whole = f"P{longest}"
        axes.append([whole] if whole in SCHEMES else ["F4", "F6"])
    pairs = [(y, x) for y in axes[0] for x in axes[1] if {y, x} != {"F4", "F6"}]
    work = {pair: int(tile_map(height, width, rate, *pair).needed.sum()) for pair in pairs}
    # More accurate schemes come first; a less accurate one must save products.
    return [
        pair
        for index, pair in enumerate(pairs)
        if pair != ("P1", "P1") and all(work[pair] < work[other] for other in pairs[:index])
    ]


# What was found for a geometry: names of ways with their seconds, the chosen one first.
_found: dict[tuple[int | bool, ...], tuple[str, dict[str, float]]] = {}


def choose(
    conv: nn.Conv2d, height: int, width: int, *, relu: bool = False, seconds: float = 0.5, most_bytes: int | None = None
) -> Choice:
    """Try the ways to compute `conv` (and ReLU) on a (height, width) map and take the fastest.

    The trial uses torch's current number of threads, lasts about `seconds` beside compiling, and is remembered for
    convolutions of the same geometry. Without Numba the plain convolution is taken without a trial, so the answer is
    then always the same. `most_bytes` leaves out ways whose filters take more memory.
    """
    plain = PlainConv2d(conv, relu=relu)
    pairs = candidates(conv, height, width)
    if not pairs and not _taps_outside(conv, height, width):
        return Choice(module=plain, name="plain", reason="no other way fits this convolution")
    if not is_available():
        return Choice(module=plain, name="plain", reason="Numba is not installed (pip install 'atrous[fast]')")
    ways: dict[str, Callable[[], nn.Module]] = {"plain": lambda: plain}
    if _taps_outside(conv, height, width):
        ways["shifted"] = lambda: PlainConv2d(conv, relu=relu, shifted=True)
    for y, x in pairs:
        if most_bytes is None or _filter_bytes(conv, y, x) <= most_bytes:
            ways[y if y == x else f"{y}x{x}"] = lambda y=y, x=x: PolyphaseConv2d(conv, y, x, relu=relu)
    key = (conv.in_channels, conv.out_channels, int(conv.dilation[0]), height, width, torch.get_num_threads(), relu)
    known = _found.get(key)
    if known is not None and known[0] in ways:
        return _answer(ways[known[0]](), *known)
    modules = {name: make() for name, make in ways.items()}
    times = _trial(modules, conv.in_channels, height, width, seconds)
    name = _best(times, {name: _filter_bytes_of(module) for name, module in modules.items()})
    _found[key] = (name, times)
    return _answer(modules[name], name, times)


def _answer(module: nn.Module, name: str, seconds: dict[str, float]) -> Choice:
    faster = seconds["plain"] / seconds[name]
    reason = "the plain way is the fastest" if name == "plain" else f"{faster:.1f} times as fast as the plain way"
    return Choice(module=module, name=name, seconds=seconds, reason=reason)


def _taps_outside(conv: nn.Conv2d, height: int, width: int) -> bool:
    """Whether a good part of the taps sees only padding: the rate is a quarter of the map or more."""
    return is_eligible(conv) and 4 * int(conv.dilation[0]) >= min(height, width) > 0


def _filter_bytes(conv: nn.Conv2d, vertical: str, horizontal: str) -> int:
    points = SCHEMES[vertical].points * SCHEMES[horizontal].points
    return 4 * points * conv.in_channels * conv.out_channels


def _filter_bytes_of(module: nn.Module) -> int:
    return module.weight_bytes if isinstance(module, PolyphaseConv2d) else 0


@torch.inference_mode()
def _trial(modules: dict[str, nn.Module], channels: int, height: int, width: int, seconds: float) -> dict[str, float]:
    """The shortest time of each module; they take turns, because other programs disturb all alike then."""
    image = torch.rand(1, height, width, channels).permute(0, 3, 1, 2)
    times = {name: _timed(module, image) for name, module in modules.items()}  # compiles, takes memory
    times = {name: _timed(module, image) for name, module in modules.items()}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        fastest = min(times.values())
        for name, module in modules.items():
            if times[name] <= HOPELESS * fastest:
                times[name] = min(times[name], _timed(module, image))
    return times


def _timed(module: nn.Module, image: Tensor) -> float:
    begin = time.perf_counter()
    module(image)
    return time.perf_counter() - begin


def _best(times: dict[str, float], sizes: dict[str, int]) -> str:
    """The fastest, or one with smaller filters (none for the plain ways) that is nearly as fast."""
    fastest = min(times.values())
    near = [name for name, time_ in times.items() if time_ <= fastest * (1 + MARGIN)]
    return min(near, key=lambda name: (sizes[name], times[name]))
