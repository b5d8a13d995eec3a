"""A 3x3 atrous convolution for inference on a CPU, by minimal filtering in the polyphase domain with compiled kernels."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.polyphase.plain import transform_filters

if TYPE_CHECKING:
    from atrous.polyphase.program import Layer, Program

__all__ = ["PolyphaseConv2d", "is_eligible"]

CHANNELS = 16  # as in intrinsics.py, which only machines with Numba can import
PROGRAMS = 8  # sizes that a layer remembers


def is_eligible(module: nn.Module) -> bool:
    """Whether `PolyphaseConv2d` can stand for a module: a 3x3 `nn.Conv2d`, stride 1, padding = dilation, one group."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (3, 3)
        and module.stride == (1, 1)
        and module.groups == 1
        and module.dilation[0] == module.dilation[1]
        and module.padding == module.dilation
        and module.padding_mode == "zeros"
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    )


def _rounded(channels: int) -> int:
    return -(-channels // CHANNELS) * CHANNELS


class PolyphaseConv2d(nn.Module):
    """A convolution with bias and, if wanted, ReLU, made from an eligible `nn.Conv2d`; for inference only.

    `vertical` and `horizontal` name the schemes (`transforms.SCHEMES`) along y and x. Input (N, C, H, W) and output
    (N, K, H, W) are float32 in channels_last memory (another layout is copied); each image is computed by itself, so
    its result does not depend on the batch. Channels that are no multiple of 16 work, with copies.
    Raises ImportError where Numba is not installed.
    """

    def __init__(self, conv: nn.Conv2d, vertical: str, horizontal: str, *, relu: bool = False) -> None:
        super().__init__()
        if not is_eligible(conv):
            raise ValueError(f"a 3x3 float32 convolution with stride 1 and padding = dilation is needed, not {conv}")
        from atrous.polyphase import kernels
        from atrous.polyphase.program import Layer

        self.in_channels, self.out_channels, self.relu = conv.in_channels, conv.out_channels, relu
        rows, columns, width = kernels.register_block(conv.out_channels)
        self.layer = Layer(
            vertical=vertical,
            horizontal=horizontal,
            rate=int(conv.dilation[0]),
            channels=_rounded(conv.in_channels),
            out_channels=_rounded(conv.out_channels),
            rows=rows,
            columns=columns,
            width=width,
        )
        bias = _zeros(self.layer.out_channels)
        if conv.bias is not None:
            bias[: conv.out_channels] = conv.bias.detach()
        constants = {
            "right": _panels(conv.weight.detach(), self.layer),
            "bias": bias,
            "lowest": _zeros(CHANNELS) if relu else _zeros(CHANNELS) - torch.inf,
            "zeros": _zeros(self.layer.channels),
            "sink": _zeros(self.layer.out_channels),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.layer.kernels()  # compiles, so that a machine where that fails tells at once
        self._programs: dict[tuple[int, int, int], Program] = {}

    def __getstate__(self) -> dict[str, object]:
        """What a copy takes over: not the programs, which hold addresses."""
        return {**self.__dict__, "_programs": {}}

    @property
    def weight_bytes(self) -> int:
        """Memory of the transformed filters."""
        return self.layer.filter_bytes

    def extra_repr(self) -> str:
        """What `print` shows."""
        scheme = f"{self.layer.vertical}x{self.layer.horizontal}"
        return f"{self.in_channels}, {self.out_channels}, rate={self.layer.rate}, {scheme}, relu={self.relu}"

    def program(self, height: int, width: int) -> "Program":
        """The kernel calls for a map of that size."""
        from atrous.polyphase.program import Program

        key = (height, width, torch.get_num_threads())
        program = self._programs.get(key)
        if program is None:
            program = Program(self.layer, *key)
            if len(self._programs) >= PROGRAMS:
                self._programs.clear()
            self._programs[key] = program
        return program

    def forward(self, x: Tensor) -> Tensor:
        """Filter `x` (N, C, H, W)."""
        if x.dtype != torch.float32 or x.device.type != "cpu" or x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"a float32 tensor (N, {self.in_channels}, H, W) on the CPU is needed, "
                f"not {x.dtype} {tuple(x.shape)} on {x.device}"
            )
        if torch.is_grad_enabled() and x.requires_grad:
            raise RuntimeError("this layer has no gradient: call it under torch.inference_mode()")
        batch, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1)
        if self.layer.channels != self.in_channels:
            pixels = functional.pad(pixels, (0, self.layer.channels - self.in_channels))
        pixels = pixels.contiguous()
        result = torch.empty(batch, height, width, self.layer.out_channels, dtype=torch.float32, device="cpu")
        if result.numel():
            program = self.program(height, width)
            constants = {name: self.get_buffer(name) for name in ("right", "bias", "lowest", "zeros", "sink")}
            for image, target in zip(pixels, result, strict=True):
                program.run(image.data_ptr(), target.data_ptr(), **constants)
        if self.layer.out_channels != self.out_channels:
            result = result[..., : self.out_channels].contiguous()
        return result.permute(0, 3, 1, 2)


def _panels(weight: Tensor, layer: "Layer") -> Tensor:
    """(out, in, 3, 3) filters transformed as the kernels read them: (points, panels, channels, columns), zeros added."""
    result = _zeros(layer.points, layer.panels, layer.channels, layer.columns)
    for panel in range(layer.panels):
        part = weight[panel * layer.columns : (panel + 1) * layer.columns]
        transformed = transform_filters(part, layer.vertical, layer.horizontal)
        result[:, panel, : transformed.shape[1], : transformed.shape[2]] = transformed
    return result


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float32, device="cpu")
