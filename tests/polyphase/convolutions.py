"""Random convolutions, and how far a result is from the exact one."""

import torch
from torch import nn
from torch.nn import functional

KINDS = ("normal", "rectified", "constant", "large mean")


def random_convolution(channels, out_channels, rate, *, seed=0, bias=True):
    torch.manual_seed(seed)
    return nn.Conv2d(channels, out_channels, 3, padding=rate, dilation=rate, bias=bias)


def random_image(channels, height, width, *, kind="normal", batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, channels, height, width, generator=generator)
    if kind == "rectified":
        image = image.relu()
    elif kind == "constant":
        image = torch.full_like(image, 3.7)
    elif kind == "large mean":
        image = image * 0.1 + 10
    return image.contiguous(memory_format=torch.channels_last)


def exact(conv, image):
    """The convolution in float64."""
    bias = None if conv.bias is None else conv.bias.double()
    rate = conv.dilation[0]
    with torch.no_grad():
        return functional.conv2d(image.double(), conv.weight.double(), bias, padding=rate, dilation=rate)


def error(result, reference):
    """The largest difference as a share of the reference's standard deviation; of its range where it has few values."""
    scale = reference.std() if reference.numel() >= 100 else reference.max() - reference.min()
    return float((result - reference).abs().max() / scale)
