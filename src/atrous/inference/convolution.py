"""A convolution with what follows it in one step: bias, a sum, an activation."""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ACTIVATIONS", "FusedConv2d", "LazyConv2d", "activation_of", "working_ways"]

# oneDNN's names and numbers for the activations of these networks, as PyTorch's compiler passes them.
ACTIVATIONS: dict[str, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "hardswish": ("hardswish", []),
    "hardsigmoid": ("hardsigmoid", []),
    "sigmoid": ("sigmoid", []),
    "silu": ("swish", []),
}
LARGE = 1 << 18  # bytes of weights
_LAYERS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Hardswish: "hardswish",
    nn.Hardsigmoid: "hardsigmoid",
    nn.Sigmoid: "sigmoid",
}
_FUNCTIONS = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
}


def activation_of(layer: nn.Module) -> str | None:
    """The name of an activation layer that a convolution can take in, else None."""
    return _LAYERS.get(type(layer))


class LazyConv2d(nn.Conv2d):
    """A convolution whose weights are made from others when they are first used, and can be given back and made again.

    All of a network's weights once more, with batch norm folded in, would take as much memory as the network.
    """

    def __init__(
        self, like: nn.Conv2d, make: Callable[[bool], tuple[Tensor, Tensor | None]], *, in_channels: int, bias: bool
    ) -> None:
        """`like` has the geometry; `make` gives weights (out, in / groups, y, x) and biases (out,), None without `bias`.

        It is told whether what it makes them from will not be needed again, and may then be changed.
        """
        padding = like.padding
        super().__init__(
            in_channels,
            like.out_channels,
            (like.kernel_size[0], like.kernel_size[1]),
            stride=(like.stride[0], like.stride[1]),
            padding=padding if isinstance(padding, str) else (padding[0], padding[1]),
            dilation=(like.dilation[0], like.dilation[1]),
            groups=like.groups,
            bias=bias,
            padding_mode=like.padding_mode,
            device="meta",
        )
        self._make: Callable[[bool], tuple[Tensor, Tensor | None]] | None = make
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def fill(self, *, for_good: bool = False) -> None:
        """Make the weights, if there are none; `for_good` lets go of what they are made from."""
        if self.weight.is_meta:
            if self._make is None:
                raise RuntimeError("the weights of this convolution were given back for good")
            weight, bias = self._make(for_good)
            self.weight = nn.Parameter(weight.detach(), requires_grad=False)
            if bias is not None:
                self.bias = nn.Parameter(bias.detach(), requires_grad=False)
        if for_good:
            self._make = None

    def empty(self) -> None:
        """Give the weights back; the biases stay."""
        self.weight = nn.Parameter(self.weight.to("meta"), requires_grad=False)

    def solid(self) -> nn.Conv2d:
        """A usual convolution with these weights."""
        self.fill()
        conv = nn.Conv2d.__new__(nn.Conv2d)
        conv.__dict__ = {**self.__dict__, "_parameters": dict(self._parameters)}
        return conv

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, K, H', W') of (N, C, H, W)."""
        self.fill()
        return super().forward(input)


class FusedConv2d(nn.Module):
    """`activation(conv(x) + other)`, where `other` is optional; for inference.

    On a CPU it is one call of oneDNN with its weights laid out once; where that is not to be had, and on other devices,
    the plain operations one after the other, which are the definition.
    """

    def __init__(self, conv: nn.Conv2d, activation: str = "none") -> None:
        super().__init__()
        self.conv = conv
        self.activation = activation
        self.overwrites = False  # whether nobody reads `other` afterwards, so that the result may take its place
        self.packs = False  # whether its weights are laid out at the next call, and lazy ones given back
        self.owns = False  # whether nobody else needs what its weights are made from
        self.tidy: Callable[[], object] | None = None  # called after that, where much memory was used
        self._packed: Tensor | None = None

    @property
    def out_channels(self) -> int:
        """Channels of the result."""
        return self.conv.out_channels

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, K, H', W') of `x` (N, C, H, W) and `other` (N, K, H', W')."""
        if self.packs:
            self.packs = False
            works = (self.activation, other is not None) in working_ways()
            if works and self.pack(x.shape) and isinstance(self.conv, LazyConv2d):
                self.conv.empty()
            if self.tidy is not None and self.conv.weight.nbytes >= LARGE:
                self.tidy()
        if self._packed is None or (self.activation, other is not None) not in working_ways():
            return self.plain(x, other)
        return self.packed(x, other)

    def packed(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The same in one call, with weights that are laid out."""
        conv, (name, numbers) = self.conv, ACTIVATIONS[self.activation]
        shape = _shape(conv)
        if other is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self._packed, conv.bias, *shape, name, numbers, "")
        then = None if name == "none" else name
        if self.overwrites:
            return torch.ops.mkldnn._convolution_pointwise_.binary(
                other, x, self._packed, conv.bias, *shape, "add", 1.0, then, numbers, ""
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, other, self._packed, conv.bias, *shape, "add", 1.0, then, numbers, ""
        )

    def plain(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """The definition."""
        y = self.conv(x)
        if other is not None:
            y = y + other
        return y if self.activation == "none" else _FUNCTIONS[self.activation](y)

    def pack(self, size: Sequence[int]) -> bool:
        """Lay the weights out for inputs (1, C, H, W) of about that `size`; returns whether oneDNN takes them.

        Any size works afterwards.
        """
        conv = self.conv
        self._packed = None
        self.fill(for_good=self.owns)
        if conv.weight.device.type != "cpu" or conv.weight.dtype != torch.float32:
            return False
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            return False
        if (self.activation, False) not in working_ways():
            return False
        try:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight.detach(), *_shape(conv), list(size))
        except RuntimeError:
            return False
        return True

    def fill(self, *, for_good: bool = False) -> None:
        """See that the weights are there; `for_good` as for `LazyConv2d`."""
        if isinstance(self.conv, LazyConv2d):
            self.conv.fill(for_good=for_good)

    def __getstate__(self) -> dict[str, object]:
        """What a copy takes over: not the packed weights, which only this process can hold."""
        return {**self.__dict__, "_packed": None}

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"activation={self.activation}, packed={self._packed is not None}"


@functools.cache
def working_ways() -> frozenset[tuple[str, bool]]:
    """The activations, without and with a sum, that a small convolution has taken in with the plain result.

    These operations are the ones that PyTorch's compiler uses, and are not promised to stay.
    """
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, padding=2, dilation=2, device="meta")
    conv.weight = nn.Parameter(torch.randn(8, 8, 3, 3, generator=generator), requires_grad=False)
    conv.bias = nn.Parameter(torch.randn(8, generator=generator), requires_grad=False)
    x, other = (torch.randn(1, 5, 7, 8, generator=generator).permute(0, 3, 1, 2) for _ in range(2))
    found: set[tuple[str, bool]] = set()
    for name in ACTIVATIONS:
        fused = FusedConv2d(conv, name)
        for others in ((), (other,)):
            try:
                fused._packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *_shape(conv), list(x.shape))
                results = [fused.packed(x, *others)]
                if others:
                    fused.overwrites = True
                    results.append(fused.packed(x, other.clone()))
            except (RuntimeError, AttributeError, TypeError):
                continue
            expected = fused.plain(x, *others)
            if all(torch.allclose(result, expected, rtol=1e-4, atol=1e-4) for result in results):
                found.add((name, bool(others)))
    return frozenset(found)


def _shape(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int], int]:
    """Padding, stride, dilation and groups."""
    padding = conv.padding
    assert not isinstance(padding, str)
    return list(padding), list(conv.stride), list(conv.dilation), conv.groups
