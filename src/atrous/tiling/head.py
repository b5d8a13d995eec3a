"""The head on a piece of the feature map: every convolution reads what it needs around the piece, and no more.

Equal to the head on the whole map, but for float rounding. Outside the map features are 0, as convolutions pad them.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from atrous.models.aspp import ASPP, ImagePooling
from atrous.models.deeplab import DeepLab
from atrous.models.heads import DeepLabV3Head, DeepLabV3PlusHead
from atrous.tiling.parts import LOW_LEVEL_STRIDE, shared_copy

__all__ = ["Head", "Piece"]


@dataclass(frozen=True)
class Piece:
    """Rows and columns of a map (h, w); may reach beyond it."""

    rows: slice
    columns: slice

    def grown(self, margin: int) -> "Piece":
        """With `margin` more positions on every side."""
        return Piece(
            slice(self.rows.start - margin, self.rows.stop + margin),
            slice(self.columns.start - margin, self.columns.stop + margin),
        )

    def within(self, size: tuple[int, int]) -> "Piece":
        """The part of it that lies in a map of `size`."""
        return Piece(
            slice(max(0, self.rows.start), min(size[0], self.rows.stop)),
            slice(max(0, self.columns.start), min(size[1], self.columns.stop)),
        )

    def taken(self, x: Tensor, origin: "Piece") -> Tensor:
        """This piece of `x`, which holds `origin`."""
        top, left = origin.rows.start, origin.columns.start
        rows = slice(self.rows.start - top, self.rows.stop - top)
        return x[:, :, rows, self.columns.start - left : self.columns.stop - left]


class Head:
    """A DeepLab's classifier, for pieces.

    Args:
        network: in eval mode, one that `can_be_parted`; not changed.
        size: height and width of the high-level map.
        low_size: of the low-level map, for v3+.
    """

    def __init__(self, network: DeepLab, *, size: tuple[int, int], low_size: tuple[int, int]) -> None:
        head = shared_copy(network.classifier).eval()
        self.is_plus = isinstance(head, DeepLabV3PlusHead)
        self.size, self.low_size = size, low_size if self.is_plus else size
        self.factor = network.backbone.output_stride // LOW_LEVEL_STRIDE if self.is_plus else 1
        self._aspp = cast("ASPP", head.aspp if isinstance(head, DeepLabV3PlusHead) else cast("DeepLabV3Head", head)[0])
        rest = head.decoder if isinstance(head, DeepLabV3PlusHead) else list(cast("DeepLabV3Head", head))[1:-1]
        self._layers = [(layer, _unpad(layer)) for layer in cast("list[nn.Module]", list(rest))]
        self.logits_layer = cast("nn.Conv2d", head.logits)
        self._branches: list[tuple[nn.Module, int]] = [
            (branch, 0 if isinstance(branch, ImagePooling) else _unpad(branch)) for branch in self._aspp.convs
        ]
        self._reduce = head.reduce if isinstance(head, DeepLabV3PlusHead) else None
        self._pooled: Tensor | None = None

    @property
    def low_channels(self) -> int:
        """Channels of the reduced low-level features; 0 for v3."""
        reduce = self._reduce
        return (
            0
            if reduce is None
            else [layer for layer in reduce.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
        )

    @property
    def reach(self) -> int:
        """Positions of the high-level map that a piece reads beyond itself."""
        far = max((reach for _, reach in self._branches), default=0)
        margin = self.margin
        return far + (-(-margin // self.factor) + 1 if self.is_plus else margin)

    @property
    def bytes_per_position(self) -> int:
        """About what a position of the high-level map takes: ASPP's branches and their concatenation, or the decoder."""
        channels = cast("nn.Conv2d", self._aspp.project[0]).in_channels
        decoder = 0
        if self.is_plus:
            joined = self.logits_layer.in_channels * 3 + self.low_channels
            decoder = self.factor**2 * (2 * joined + self.logits_layer.in_channels)
        return 4 * max(2 * channels, decoder)

    @property
    def margin(self) -> int:
        """Positions of its own map that the layers after ASPP read around a piece."""
        return sum(reach for _, reach in self._layers)

    @torch.inference_mode()
    def hold_mean(self, mean: Tensor) -> None:
        """Use `mean` (1, C, 1, 1), of the whole high-level map, for image pooling."""
        for branch, _ in self._branches:
            if isinstance(branch, ImagePooling):
                self._pooled = nn.Sequential.forward(branch, mean)

    @torch.inference_mode()
    def logits(self, piece: Piece, features: Tensor, low_level: Tensor | None) -> Tensor:
        """Logits (1, K, rows, columns) of a piece of the head's own map, which for v3+ has stride 4.

        Args:
            piece: in positions of the head's own map, within it; for v3+ beginning and ending where high-level ones do.
            features: high-level ones of the piece (divided by `factor`) grown by `reach`, 0 outside the map.
            low_level: for v3+ reduced ones of the piece grown by 2, 0 outside the map.
        """
        wide = piece.grown(self.margin)
        if low_level is None:
            origin = piece.grown(self.reach)
            x = self._spread(features, wide, origin)
        else:
            x = torch.cat([self._enlarged(features, piece, wide), low_level], dim=1)
        x = _zero_outside(x, wide, self.low_size)
        for number, (layer, reach) in enumerate(self._layers):
            x = layer(x)
            wide = wide.grown(-reach)
            if number + 1 < len(self._layers):
                x = _zero_outside(x, wide, self.low_size)
        return self.logits_layer(x).float()

    def _spread(self, features: Tensor, wanted: Piece, origin: Piece) -> Tensor:
        """ASPP's result (1, C, rows, columns) on `wanted`, of features that lie on `origin`."""
        parts: list[Tensor] = []
        for branch, reach in self._branches:
            if isinstance(branch, ImagePooling):
                assert self._pooled is not None
                height, width = parts[0].shape[-2:] if parts else _size(wanted)
                parts.append(self._pooled.expand(-1, -1, height, width))
            else:
                seen = wanted.grown(reach).taken(features, origin)
                parts.append(branch(seen.contiguous(memory_format=torch.channels_last)))
        return self._aspp.project(torch.cat(parts, dim=1))

    def _enlarged(self, features: Tensor, piece: Piece, wide: Piece) -> Tensor:
        """ASPP's result enlarged to the low-level map, on `wide`; what lies outside the map is of no meaning."""
        factor = self.factor
        coarse = Piece(*(slice(part.start // factor, -(-part.stop // factor)) for part in (piece.rows, piece.columns)))
        around = -(-self.margin // factor) + 1  # one more position for the interpolation
        seen = coarse.grown(around).within(self.size)  # at the border the last position counts beyond it
        x = self._spread(features, seen, coarse.grown(self.reach))
        first, last = Piece(slice(0, self.size[0]), slice(0, self.size[1])), self.low_size
        for axis, (own, whole, low) in enumerate(zip(_slices(seen), _slices(first), last, strict=True)):
            x = _resample(x, axis + 2, own, whole.stop, low, _slices(wide)[axis])
        return x.contiguous(memory_format=torch.channels_last)


def _slices(piece: Piece) -> tuple[slice, slice]:
    return piece.rows, piece.columns


def _size(piece: Piece) -> tuple[int, int]:
    return piece.rows.stop - piece.rows.start, piece.columns.stop - piece.columns.start


def _resample(x: Tensor, axis: int, own: slice, size: int, new_size: int, wanted: slice) -> Tensor:
    """Bilinear (half-pixel) positions `wanted` of an axis enlarged from `size` to `new_size`; `x` holds `own` of it."""
    place = torch.arange(max(0, wanted.start), min(new_size, wanted.stop), dtype=torch.float32)
    source = ((place + 0.5) * (size / new_size) - 0.5).clamp_(min=0)
    low = source.long().clamp_(max=size - 1)
    weight = (source - low).clamp_(0, 1).to(x.device, x.dtype)
    high = (low + 1).clamp_(max=size - 1)
    weight = weight[:, None] if axis == 2 else weight
    near, far = ((index - own.start).to(x.device) for index in (low, high))
    inside = torch.lerp(x.index_select(axis, near), x.index_select(axis, far), weight)
    before, after = max(0, -wanted.start), max(0, wanted.stop - new_size)
    return functional.pad(inside, (0, 0, before, after) if axis == 2 else (before, after))


def _zero_outside(x: Tensor, piece: Piece, size: tuple[int, int]) -> Tensor:
    """Set to 0 what lies outside the map, as the padding of a convolution is."""
    for axis, (part, length) in enumerate(zip(_slices(piece), size, strict=True)):
        before, after = max(0, -part.start), max(0, part.stop - length)
        if before:
            x.narrow(axis + 2, 0, before).zero_()
        if after:
            x.narrow(axis + 2, x.shape[axis + 2] - after, after).zero_()
    return x


def _unpad(module: nn.Module) -> int:
    """Take the padding off a branch's convolutions; returns how far they reach, in positions."""
    reach = 0
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1):
            reach += layer.dilation[0] * (layer.kernel_size[0] - 1) // 2
            layer.padding = (0, 0)
    return reach
