"""A convolution with what follows it in one step: bias, a sum, an activation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ACTIVATIONS", "FusedConv2d", "activation_of"]

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
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, K, H', W') of `x` (N, C, H, W) and `other` (N, K, H', W')."""
        if self._packed is None:
            return self.plain(x, other)
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

        Any size works afterwards. The call is tried, and must give the plain result: these operations are the ones that
        PyTorch's compiler uses, and are not promised to stay.
        """
        conv = self.conv
        self._packed = None
        if conv.weight.device.type != "cpu" or conv.weight.dtype != torch.float32 or conv.padding_mode != "zeros":
            return False
        try:
            padding, stride, dilation, groups = _shape(conv)
            weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, padding, stride, dilation, groups, list(size))
            x = torch.linspace(-1, 1, 5 * 7 * conv.in_channels).view(1, 5, 7, -1).permute(0, 3, 1, 2)
            expected = self.plain(x)
            self._packed = packed
            actual = self(x)
        except (RuntimeError, AttributeError, TypeError):
            self._packed = None
            return False
        close = torch.allclose(actual, expected, rtol=1e-4, atol=1e-5 * (1 + float(expected.detach().abs().max())))
        if not close:
            self._packed = None
        return close

    def __getstate__(self) -> dict[str, object]:
        """What a copy takes over: not the packed weights, which only this process can hold."""
        return {**self.__dict__, "_packed": None}

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"activation={self.activation}, packed={self._packed is not None}"


def _shape(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int], int]:
    """Padding, stride, dilation and groups."""
    padding = conv.padding
    assert not isinstance(padding, str)
    return list(padding), list(conv.stride), list(conv.dilation), conv.groups
