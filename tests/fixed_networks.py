"""Networks with weights from a fixed formula, not from torch's random numbers, which may change between versions."""

import numpy as np
import torch
from torch import Tensor, nn

from atrous.models import DeepLab, build

TABLE = np.random.RandomState(7).standard_normal(9973).astype(np.float32)  # numpy keeps this generator's numbers


def fixed_numbers(shape: tuple[int, ...], start: int) -> Tensor:
    """Numbers like normal ones, which depend on `shape` and `start` alone."""
    return torch.from_numpy(np.resize(np.roll(TABLE, start), int(np.prod(shape))).reshape(shape))


def build_fixed(name: str, **settings: object) -> DeepLab:
    """The network with fixed weights; much faster than drawing random ones."""
    with torch.device("meta"):
        network = build(name, **settings)
    fill_fixed(network)
    return network


def fill_fixed(module: nn.Module) -> None:
    """Give a module without memory its memory, and fixed numbers in it."""
    state = module.to_empty(device="cpu").state_dict()
    for position, (name, tensor) in enumerate(state.items()):
        if name.endswith("num_batches_tracked"):
            tensor.zero_()
            continue
        numbers = fixed_numbers(tuple(tensor.shape), 37 * position)
        if tensor.ndim == 4:
            tensor.copy_(numbers * (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            tensor.copy_(1 + 0.1 * numbers.abs())
        elif name.endswith("conv3.4.weight"):
            # The norm that ends a block of Xception: no ReLU halves what comes before, and it would grow from block to
            # block until the decoder's other input no longer counted.
            tensor.copy_(0.1 + 0.01 * numbers)
        elif name.endswith("weight"):
            tensor.copy_(1 + 0.1 * numbers)
        else:
            tensor.copy_(0.1 * numbers)
