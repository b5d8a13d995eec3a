"""Which way of computing a 3x3 convolution is the fastest on this machine: a short trial."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from atrous.polyphase.layer import PolyphaseConv2d, is_eligible
from atrous.polyphase.plain import PlainConv2d
from atrous.polyphase.tiles import tile_map
from atrous.polyphase.transforms import SCHEMES

__all__ = ["Choice", "candidates", "choose", "found_choices", "is_available", "use_choices"]

# A way must be this much faster than the plain one, so that noise does not decide; and of two ways that differ by less,
# the one with the smaller filters is taken.
MARGIN = 0.05
# After so many rounds of a trial, no more for a way that takes this many times as long as the fastest.
LEAST_ROUNDS = 3
HOPELESS = 1.5
LEAST_CHANNELS = 16


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen way.

    Attributes:
        module: takes (N, C, H, W), gives (N, K, H, W); the plain one is the given convolution, with ReLU if wanted.
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
    axes = [_schemes(-(-length // rate)) for length in (height, width)]
    pairs = [(y, x) for y in axes[0] for x in axes[1] if {y, x} != {"F4", "F6"}]
    work = {pair: int(tile_map(height, width, rate, *pair).needed.sum()) for pair in pairs}
    # More accurate schemes come first; a less accurate one must save products.
    return [
        pair
        for index, pair in enumerate(pairs)
        if pair != ("P1", "P1") and all(work[pair] < work[other] for other in pairs[:index])
    ]


def _schemes(longest: int) -> list[str]:
    """Those for an axis whose lines have up to `longest` values, the more accurate first."""
    whole = [name for name, scheme in SCHEMES.items() if not scheme.overlap and scheme.fits(longest)]
    return whole[:1] or ["F4", "F6"]


# What was found for a geometry: names of ways with their seconds, the chosen one first.
_found: dict[tuple[int | bool, ...], tuple[str, dict[str, float]]] = {}


def found_choices() -> list[dict[str, object]]:
    """What trials found so far, as JSON's types, for `use_choices` of a later process on the same machine."""
    return [{"geometry": list(key), "way": way, "seconds": seconds} for key, (way, seconds) in _found.items()]


def use_choices(choices: Sequence[Mapping[str, Any]]) -> None:
    """Take over what `found_choices` gave; what this process has found itself stays.

    Raises:
        KeyError, TypeError, ValueError: something else.
    """
    read = {
        tuple(choice["geometry"]): (
            str(choice["way"]),
            {str(name): float(value) for name, value in choice["seconds"].items()},
        )
        for choice in choices
    }
    for key, (way, seconds) in read.items():
        if not all(isinstance(part, int) for part in key) or way not in seconds or "plain" not in seconds:
            raise ValueError(f"no choice: {key} {way}")
        _found.setdefault(key, (way, seconds))


def choose(
    conv: nn.Conv2d,
    height: int,
    width: int,
    *,
    relu: bool = False,
    seconds: float = 0.5,
    most_bytes: int | None = None,
    image: Tensor | None = None,
) -> Choice:
    """Try the ways to compute `conv` (and ReLU) on a (height, width) map and take the fastest.

    The trial uses torch's current number of threads, lasts about `seconds` beside compiling, and is remembered for
    convolutions of the same geometry. Without Numba the plain convolution is taken without a trial, so the answer is
    then always the same. `most_bytes` leaves out ways whose filters take more memory. `image` is a map (1, C, height, width)
    to try them on, in the place of random numbers.
    """
    plain = PlainConv2d(conv, relu=relu)
    pairs = candidates(conv, height, width)
    if not pairs and not _taps_outside(conv, height, width):
        return Choice(module=plain, name="plain", reason="no other way fits this convolution")
    if not is_available():
        return Choice(module=plain, name="plain", reason="Numba is not installed (pip install 'atrous[fast]')")
    key = (conv.in_channels, conv.out_channels, int(conv.dilation[0]), height, width, torch.get_num_threads(), relu)
    makers = _makers(conv, pairs, height, width, relu=relu, most_bytes=most_bytes)
    known = _found.get(key)
    try:
        if known is not None and known[0] in makers:
            return _answer(makers[known[0]](), *known)
        module, name, times = _tournament(
            makers, _random(conv.in_channels, height, width) if image is None else image, seconds
        )
    except Exception as error:  # Numba and LLVM have many ways to fail on a machine that they do not know
        return Choice(
            module=plain, name="plain", reason=f"the kernels do not work here: {type(error).__name__} {error}"
        )
    _found[key] = (name, times)
    return _answer(module, name, times)


def _makers(
    conv: nn.Conv2d, pairs: list[tuple[str, str]], height: int, width: int, *, relu: bool, most_bytes: int | None
) -> dict[str, Callable[[], nn.Module]]:
    """What builds each way, by name."""
    makers: dict[str, Callable[[], nn.Module]] = {"plain": partial(PlainConv2d, conv, relu=relu)}
    if _taps_outside(conv, height, width):
        makers["shifted"] = partial(PlainConv2d, conv, relu=relu, shifted=True)
    for y, x in pairs:
        size = 4 * SCHEMES[y].points * SCHEMES[x].points * conv.in_channels * conv.out_channels
        if most_bytes is None or size <= most_bytes:
            makers[y if y == x else f"{y}x{x}"] = partial(PolyphaseConv2d, conv, y, x, relu=relu)
    return makers


def _answer(module: nn.Module, name: str, seconds: dict[str, float]) -> Choice:
    faster = seconds["plain"] / seconds[name]
    reason = "the plain way is the fastest" if name == "plain" else f"{faster:.1f} times as fast as the plain way"
    return Choice(module=module, name=name, seconds=seconds, reason=reason)


def _taps_outside(conv: nn.Conv2d, height: int, width: int) -> bool:
    """Whether a good part of the taps sees only padding: the rate is a quarter of the map or more."""
    return is_eligible(conv) and 4 * int(conv.dilation[0]) >= min(height, width) > 0


def _filter_bytes(module: nn.Module) -> int:
    return module.weight_bytes if isinstance(module, PolyphaseConv2d) else 0


def _random(channels: int, height: int, width: int) -> Tensor:
    return torch.rand(1, height, width, channels).permute(0, 3, 1, 2)


def _tournament(
    makers: Mapping[str, Callable[[], nn.Module]], image: Tensor, seconds: float
) -> tuple[nn.Module, str, dict[str, float]]:
    """The winner, its name, and the shortest time of every way.

    Each way meets the best so far and no more than two are there at once, for their filters take memory.
    """
    (best, make), *others = makers.items()
    module, times = make(), {best: math.inf}
    for name, make in others:
        challenger = make()
        pair = {best: module, name: challenger}
        found = _trial(pair, image, seconds / len(others))
        times = {**times, name: found[name], best: min(times[best], found[best])}
        winner = _best(found, {name: _filter_bytes(module) for name, module in pair.items()})
        best, module = winner, pair[winner]
    return module, best, times


@torch.inference_mode()
def _trial(modules: dict[str, nn.Module], image: Tensor, seconds: float) -> dict[str, float]:
    """The shortest time of each module; they take turns, because other programs disturb all alike then."""
    for module in modules.values():
        module(image)  # takes memory and fills tables
    times = dict.fromkeys(modules, math.inf)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        fastest = min(times.values())
        for name, module in modules.items():
            if rounds < LEAST_ROUNDS or times[name] <= HOPELESS * fastest:
                times[name] = min(times[name], _timed(module, image))
        rounds += 1
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
