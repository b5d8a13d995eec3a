"""Wide maps between narrow ones are computed band by band, so that they never exist whole.

The maps of the first layers are the largest by far: at 1024x2048 the first expansion of MobileNetV3 takes 134 MB, between
maps of 33 and 13 MB. A band of rows of such a piece needs only a few more rows of what goes in; its maps stay in the
cache, and their memory is used again by the next band.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from atrous.inference.convolution import FusedConv2d
from atrous.inference.simplify import EXAMPLE
from atrous.inference.tracing import layer_of

__all__ = ["Banded", "Step", "band"]

BAND_BYTES = 6 << 20  # of the maps of a band: what a core's caches hold, about
LARGE = 12 << 20  # bytes of a wide map from which bands pay
MOST_TWICE = 0.1  # of the work may be done twice, where bands overlap
FLOAT_BYTES = 4
INPUT = -1


Rows = tuple[int, int]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Step:
    """A layer, what it reads (the number of an earlier step, or `INPUT`), and what is added (the same, or None)."""

    layer: nn.Module
    source: int
    other: int | None = None

    def window(self, axis: int) -> tuple[int, int, int]:
        """Pixels that a window covers, stride and padding along the height (axis 0) or the width (1)."""
        layer: Any = self.layer.conv if isinstance(self.layer, FusedConv2d) else self.layer
        values = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        size, stride, padding, rate = (value if isinstance(value, int) else value[axis] for value in values)
        return (size - 1) * rate + 1, stride, padding

    def rows_read(self, rows: Rows, height: int) -> Rows:
        """Which rows of its source, of `height` rows, are read for `rows` of its map.

        They begin at a multiple of the stride, so that the rows of the map are those of the whole.
        """
        window, stride, padding = self.window(0)
        first = (rows[0] * stride - padding) // stride * stride
        return max(0, first), min(height, (rows[1] - 1) * stride - padding + window)


class Banded(nn.Module):
    """A piece of a network, one map in and one out, computed in bands of rows of its last map."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        self.layers = nn.ModuleList([step.layer for step in steps])
        self._counts: dict[Shape, int] = {}
        self._last_read: dict[int, int] = {}
        for index, step in enumerate(steps):
            self._last_read[step.source] = index
            if step.other is not None:
                self._last_read[step.other] = index

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, K, H', W') of `x` (N, C, H, W)."""
        size = (x.shape[1], x.shape[2], x.shape[3])
        if size not in self._counts:
            self._counts[size] = self.count(self.shapes(size))
        return self.in_bands(x, self._counts[size])

    def in_bands(self, x: Tensor, count: int) -> Tensor:
        """The same in `count` bands."""
        shapes = self.shapes((x.shape[1], x.shape[2], x.shape[3]))
        heights = [shape[1] for shape in shapes]
        out = torch.empty((x.shape[0], *shapes[-1]), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        for rows in _bands(heights[-1], count):
            out[:, :, rows[0] : rows[1]] = self._rows(x, self.needed(rows, heights), heights)
        return out

    def shapes(self, size: Shape) -> list[Shape]:
        """Channels, height and width of the input, and of every step's map: that of step i is at i + 1."""
        shapes = [size]
        for step in self.steps:
            channels, *source = shapes[step.source + 1]
            sides: list[int] = []
            for axis in (0, 1):
                window, stride, padding = step.window(axis)
                sides.append((source[axis] + 2 * padding - window) // stride + 1)
            shapes.append((getattr(step.layer, "out_channels", channels), sides[0], sides[1]))
        return shapes

    def needed(self, rows: Rows, heights: Sequence[int]) -> list[Rows]:
        """Which rows of the input and of every map are needed for the last map's `rows`."""
        needed: list[Rows] = [(height, 0) for height in heights]
        needed[-1] = rows
        for index in reversed(range(len(self.steps))):
            step, own = self.steps[index], needed[index + 1]
            read = step.rows_read(own, heights[step.source + 1])
            for source, wanted in ((step.source, read), (step.other, own)):
                if source is not None:
                    have = needed[source + 1]
                    needed[source + 1] = (min(have[0], wanted[0]), max(have[1], wanted[1]))
        return needed

    def count(self, shapes: Sequence[Shape]) -> int:
        """How many bands: as many as let a band's maps fit the cache, but with little work done twice."""
        heights = [shape[1] for shape in shapes]
        rows_bytes = [FLOAT_BYTES * channels * width for channels, _, width in shapes]
        whole = sum(height * size for height, size in zip(heights[1:], rows_bytes[1:], strict=True))
        count = min(-(-whole // BAND_BYTES), heights[-1])
        while count > 1:
            total = 0
            for rows in _bands(heights[-1], count):
                needed = self.needed(rows, heights)[1:]
                total += sum((end - begin) * size for (begin, end), size in zip(needed, rows_bytes[1:], strict=True))
            if total <= (1 + MOST_TWICE) * whole:
                break
            count = count * 3 // 4
        return max(1, count)

    def _rows(self, x: Tensor, needed: Sequence[Rows], heights: Sequence[int]) -> Tensor:
        """The needed rows of the last map."""
        maps: dict[int, Tensor] = {INPUT: x[:, :, needed[0][0] : needed[0][1]]}
        result = x
        for index, step in enumerate(self.steps):
            own = needed[index + 1]
            read = step.rows_read(own, heights[step.source + 1])
            inputs = [_cut(maps[step.source], needed[step.source + 1], read)]
            if step.other is not None:
                inputs.append(_cut(maps[step.other], needed[step.other + 1], own))
            # Rows before and after its own saw padding in the place of rows that are there.
            begin = read[0] // step.window(0)[1]
            result = step.layer(*inputs)[:, :, own[0] - begin : own[1] - begin]
            maps[index] = result
            for source in {step.source, step.other if step.other is not None else step.source}:
                if self._last_read[source] == index:
                    del maps[source]
        return result


def _bands(height: int, count: int) -> list[Rows]:
    return [(index * height // count, (index + 1) * height // count) for index in range(count)]


def _cut(held: Tensor, rows: Rows, wanted: Rows) -> Tensor:
    """The `wanted` rows of a map of which `rows` are held."""
    part = held[:, :, wanted[0] - rows[0] : wanted[1] - rows[0]]
    return part if len(part) == 1 else part.contiguous(memory_format=torch.channels_last)


def band(module: fx.GraphModule, size: tuple[int, int], *, leave: Callable[[nn.Module], bool]) -> None:
    """Let the pieces of a simplified network that hold wide maps be computed in bands, for images of about that size.

    Args:
        module: from `simplify`; its nodes know their shapes for a small image, of `EXAMPLE`'s size.
        size: (height, width) of the images.
        leave: tells the layers that stay on their own.
    """
    nodes = list(module.graph.nodes)
    index = 0
    while index < len(nodes):
        found = _piece_from(module, nodes, index, size, leave)
        if found is not None:
            _replace_piece(module, nodes[index : index + len(found.steps)], found)
            index += len(found.steps)
        else:
            index += 1
    module.recompile()


def _piece_from(
    module: fx.GraphModule,
    nodes: Sequence[fx.Node],
    start: int,
    size: tuple[int, int],
    leave: Callable[[nn.Module], bool],
) -> Banded | None:
    """The shortest piece that begins at a node and gains by bands, with what follows as long as the maps get no larger."""
    places: dict[fx.Node, int] = {}
    steps: list[Step] = []
    best: Banded | None = None
    for node in nodes[start:]:
        layer = layer_of(module, node)
        if layer is None or leave(layer) or not _is_local(layer, node):
            break
        for read in node.all_input_nodes:
            places.setdefault(read, INPUT)
        outside = [read for read, place in places.items() if place == INPUT]
        if len(outside) != 1:
            break
        steps.append(Step(layer, *(places[read] for read in node.all_input_nodes)))
        inner = [read for read in places if read not in outside]
        places[node] = len(steps) - 1
        is_closed = all(user in places for read in inner for user in read.users)
        size_in, piece = _scaled(outside[0], size), Banded(steps)
        if best is not None and _last_bytes(piece, size_in) > _last_bytes(best, size_in):
            break
        if is_closed and _gains(piece, size_in):
            best = piece
    return best


def _last_bytes(banded: Banded, size: Shape) -> int:
    channels, height, width = banded.shapes(size)[-1]
    return FLOAT_BYTES * channels * height * width


def _is_local(layer: nn.Module, node: fx.Node) -> bool:
    """Whether the layer's rows follow from a few rows of its sources, as `Step` knows it."""
    if len(node.all_input_nodes) != len(node.args) or node.kwargs:
        return False
    if isinstance(layer, nn.MaxPool2d):
        return not layer.ceil_mode and not layer.return_indices
    if not isinstance(layer, FusedConv2d) or isinstance(layer.conv.padding, str) or layer.conv.padding_mode != "zeros":
        return False
    return len(node.args) == 1 or (layer.conv.kernel_size[0], layer.conv.stride[0], layer.conv.padding[0]) == (1, 1, 0)


def _scaled(node: fx.Node, size: tuple[int, int]) -> Shape:
    """Channels, height and width of a node's map for images of `size`, from those for a small one."""
    _, channels, height, width = node.meta["shape"]
    return channels, -(-height * size[0] // EXAMPLE[0]), -(-width * size[1] // EXAMPLE[1])


def _gains(banded: Banded, size: Shape) -> bool:
    shapes = banded.shapes(size)
    sizes = [FLOAT_BYTES * channels * height * width for channels, height, width in shapes[1:]]
    return max(sizes) >= LARGE and 2 * sizes[-1] <= max(sizes) and banded.count(shapes) > 1


def _replace_piece(module: fx.GraphModule, nodes: Sequence[fx.Node], banded: Banded) -> None:
    """Put one call in the place of the calls of a piece."""
    for step in banded.steps:
        if step.other == INPUT and isinstance(step.layer, FusedConv2d):
            step.layer.overwrites = False  # the next band may read the same rows again
    inside = set(nodes)
    (outside,) = {read for node in nodes for read in node.all_input_nodes} - inside
    name = f"{nodes[0].target}_to_{nodes[-1].target}"
    module.add_submodule(name, banded)
    with module.graph.inserting_after(nodes[-1]):
        call = module.graph.call_module(name, (outside,))
    call.meta = dict(nodes[-1].meta)
    nodes[-1].replace_all_uses_with(call)
    for node in reversed(nodes):
        module.graph.erase_node(node)
