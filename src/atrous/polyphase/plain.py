"""The plain computation of a 3x3 atrous convolution, and the filtered one in a few tensor operations.

The filtered one is for reading and for tests; `layer.py` computes the same with kernels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.polyphase.tiles import tile_map
from atrous.polyphase.transforms import SCHEMES

__all__ = ["PlainConv2d", "filtered_conv2d", "shifted_products", "transform_filters"]


def transform_filters(weight: Tensor, vertical: str, horizontal: str) -> Tensor:
    """(out, in, 3, 3) filters at the points of two schemes: (points, in, out) in float64.

    Computed in float64 because the filters are fixed: their rounding would be the largest error of all.
    """
    taps_y, taps_x = (torch.from_numpy(SCHEMES[name].taps) for name in (vertical, horizontal))
    both = torch.einsum("ia,jb->ijab", taps_y, taps_x).reshape(-1, 9)
    out_channels, channels = weight.shape[:2]
    columns = weight.detach().to(torch.float64).permute(2, 3, 1, 0).reshape(9, channels * out_channels)
    return (both @ columns).reshape(-1, channels, out_channels)


def filtered_conv2d(
    image: Tensor, weight: Tensor, bias: Tensor | None, rate: int, vertical: str, horizontal: str
) -> Tensor:
    """Minimal filtering in the polyphase domain, in the image's precision.

    `image` (N, C, H, W), `weight` (K, C, 3, 3), `bias` (K,) or None. Returns (N, K, H, W), equal to
    `conv2d(image, weight, bias, padding=rate, dilation=rate)` but for rounding.
    """
    batch, _, height, width = image.shape
    tiling = tile_map(height, width, rate, vertical, horizontal)
    scheme_y, scheme_x = SCHEMES[vertical], SCHEMES[horizontal]
    matrices = [torch.from_numpy(matrix).to(image.dtype) for matrix in (scheme_y.input, scheme_x.input)]
    back = [torch.from_numpy(matrix).to(image.dtype) for matrix in (scheme_y.output, scheme_x.output)]
    filters = transform_filters(weight, vertical, horizontal).to(image.dtype)
    tops, lefts = (torch.from_numpy(place).long()[:, None] for place in (tiling.tops, tiling.lefts))

    far = rate * (max(scheme_y.inputs, scheme_x.inputs) + 1)  # no tile reads further outside than that
    padded = functional.pad(image, (rate, far, rate, far))
    rows = tops + rate * (1 + torch.arange(scheme_y.inputs))  # (tiles, inputs)
    columns = lefts + rate * (1 + torch.arange(scheme_x.inputs))
    tiles = padded[:, :, rows[:, :, None], columns[:, None, :]]  # (N, C, tiles, inputs y, inputs x)

    left = torch.einsum("iy,nctyx,jx->nijtc", matrices[0], tiles, matrices[1]).flatten(1, 2)
    target = left @ filters * torch.from_numpy(tiling.needed)[:, :, None]  # (N, points, tiles, K)
    target = target.unflatten(1, (scheme_y.points, scheme_x.points))
    outputs = torch.einsum("yi,nijtk,xj->nktyx", back[0], target, back[1])

    result = image.new_zeros(batch, weight.shape[0], height, width)
    rows = tops + rate * (scheme_y.overlap + torch.arange(scheme_y.outputs))
    columns = lefts + rate * (scheme_x.overlap + torch.arange(scheme_x.outputs))
    counts_y = torch.arange(scheme_y.outputs) < torch.from_numpy(tiling.rows)[:, None]
    counts_x = torch.arange(scheme_x.outputs) < torch.from_numpy(tiling.columns)[:, None]
    tile, i, j = torch.nonzero(counts_y[:, :, None] & counts_x[:, None, :], as_tuple=True)
    result[:, :, rows[tile, i], columns[tile, j]] = outputs[:, :, tile, i, j]
    return result if bias is None else result + bias[:, None, None]


def shifted_products(image: Tensor, weight: Tensor, bias: Tensor | None, rate: int) -> Tensor:
    """The plain sum of nine matrix products, each only where its tap lands inside the image.

    Shapes as in `filtered_conv2d`; the result is in channels_last memory. At large rates most taps see only padding.
    """
    pixels = image.permute(0, 2, 3, 1).contiguous()
    batch, height, width, channels = pixels.shape
    taps = weight.permute(2, 3, 1, 0)  # (3, 3, C, K)
    flat = pixels.view(-1, channels)
    result = flat @ taps[1, 1] if bias is None else torch.addmm(bias, flat, taps[1, 1])
    result = result.view(batch, height, width, -1)
    for i, dy in enumerate((-rate, 0, rate)):
        for j, dx in enumerate((-rate, 0, rate)):
            if (dy, dx) == (0, 0) or abs(dy) >= height or abs(dx) >= width:
                continue
            seen = pixels[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            result[:, max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)] += seen @ taps[i, j]
    return result.permute(0, 3, 1, 2)


class PlainConv2d(nn.Module):
    """A convolution and, if wanted, ReLU, by torch.

    `shifted` computes it as `shifted_products`. Input (N, C, H, W), output (N, K, H, W).
    """

    def __init__(self, conv: nn.Conv2d, *, relu: bool = False, shifted: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.relu = relu
        self.shifted = shifted

    def forward(self, x: Tensor) -> Tensor:
        """Filter `x` (N, C, H, W)."""
        conv = self.conv
        y = shifted_products(x, conv.weight, conv.bias, int(conv.dilation[0])) if self.shifted else conv(x)
        return functional.relu_(y) if self.relu else y
