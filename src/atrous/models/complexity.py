"""How much a network holds and computes: parameters, and multiply-adds for an image of a size."""

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from atrous.models.deeplab import DeepLab

__all__ = ["count_multiply_adds", "count_parameters"]


def count_parameters(network: nn.Module) -> int:
    """Numbers that can be trained; running statistics are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(
    network: nn.Module, size: tuple[int, int], *, bands: int | None = None, auxiliary: bool = False
) -> int:
    """Multiply-adds of one image of `size` (height, width): convolutions, linear layers and matrix products, exactly.

    Biases, norms, activations, pooling and resizing are left out, as papers do. Taps that only see padding count.
    Nothing is computed but shapes, on any device and in any mode, and `network` stays as it is. `bands` are the image's;
    by default those of the network's settings, else 3. `auxiliary` takes in the auxiliary head, which only training
    runs.
    """
    if bands is None:
        found = network.settings.get("in_channels", 3) if isinstance(network, DeepLab) else 3
        assert isinstance(found, int)
        bands = found
    state = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    image = torch.empty(1, bands, *size, device="meta", dtype=next(network.parameters()).dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if auxiliary and isinstance(network, DeepLab):
            functional_call(_WithAuxiliary(network), {f"network.{name}": value for name, value in state.items()}, image)
        else:
            functional_call(network, state, image)
    return counter.get_total_flops() // 2  # it counts a multiply-add as two


class _WithAuxiliary(nn.Module):
    """A network whose call runs its auxiliary head too."""

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        return self.network.forward_with_auxiliary(image)
