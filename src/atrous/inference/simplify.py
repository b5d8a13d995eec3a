"""The same function in fewer steps: batch norm folded, activations and sums taken into convolutions, pooling as a bias."""

import copy
import operator
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from atrous.inference.convolution import FusedConv2d, LazyConv2d, activation_of
from atrous.inference.tracing import UntraceableError, between, has_hooks, layer_of, only_user, trace, writes

__all__ = ["folded", "multiply_adds", "note_shapes", "simplify"]

PRODUCTS = (operator.mul, torch.mul)
EXAMPLE = (96, 128)  # height and width of an image whose maps are larger than 1x1 at stride 32
_PLAIN_CONVOLUTIONS = (nn.Conv2d, LazyConv2d)  # a subclass of another library may do more
SUMS = (operator.add, operator.iadd, torch.add)


def simplify(network: nn.Module) -> fx.GraphModule:
    """A module in eval mode that computes the same logits as `network`, to float rounding, in fewer steps.

    A DeepLab's gives coarse logits (N, K, h, w). The network is not changed, and may be trained on: what has a mode or
    folded weights is copied. Convolutions with nothing to fold share their weights with it, for they take memory.

    Raises:
        UntraceableError: the network cannot be followed.
    """
    modes = [(layer, layer.training) for layer in network.modules()]
    try:
        module = trace(network.eval())
        _drop_idle(module)
        note_shapes(module, EXAMPLE)
    finally:
        for layer, training in modes:
            layer.training = training
    _fold_norms(module)
    _pool_as_bias(module)
    _fuse(module)
    _sum_instead_of_cat(module)
    module.graph.eliminate_dead_code(lambda node: node.is_impure() or writes(module, node))
    _overwrite_last_read(module)
    _scale_in_place(module)
    module.graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()
    _own_layers(module)
    return module


class _Shapes(fx.Interpreter):
    """Runs a graph and writes every node's shape into its `meta`."""

    def run_node(self, n: fx.Node) -> Any:
        """Run it."""
        result = super().run_node(n)
        n.meta["shape"] = result.shape if isinstance(result, Tensor) else None
        return result


def note_shapes(module: fx.GraphModule, size: tuple[int, int]) -> None:
    """Write every node's shape for an image of `size` (height, width) into its `meta`, None for what is no tensor.

    Raises:
        UntraceableError: the network does not work on such an image.
    """
    conv = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    if conv is None:
        raise UntraceableError("no convolution in the network")
    image = torch.zeros(1, conv.in_channels, *size, device=conv.weight.device, dtype=conv.weight.dtype)
    try:
        with torch.inference_mode():
            _Shapes(module).run(image)
    except Exception as error:  # what works on one size need not be a function of images
        raise UntraceableError(f"{type(error).__name__}: {error}") from error


def multiply_adds(module: fx.GraphModule, size: tuple[int, int]) -> int:
    """About how many multiply-adds a simplified network's convolutions take for an image of `size` (height, width)."""
    total = 0
    for node in module.graph.nodes:
        layer, shape = layer_of(module, node), _shape(node)
        if isinstance(layer, FusedConv2d) and shape is not None:
            total += layer.conv.weight.numel() * shape[-2] * shape[-1]
    return total * size[0] * size[1] // (EXAMPLE[0] * EXAMPLE[1])


def _shape(node: fx.Node) -> torch.Size | None:
    return node.meta.get("shape")


def _drop_idle(module: fx.GraphModule) -> None:
    """Remove what does nothing in eval mode."""
    for node in list(module.graph.nodes):
        if isinstance(layer_of(module, node), nn.Dropout | nn.Identity):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _fold_norms(module: fx.GraphModule) -> None:
    """Fold every batch norm that alone reads a convolution into that convolution; a copy of it, for it may be shared."""
    weights = [id(getattr(layer_of(module, node), "weight", None)) for node in module.graph.nodes]
    for node in list(module.graph.nodes):
        norm, before = layer_of(module, node), node.args[0] if node.args else None
        if not isinstance(norm, nn.BatchNorm2d) or type(norm).forward not in _PLAIN_FORWARDS or has_hooks(norm):
            continue
        conv = layer_of(module, before)
        if not isinstance(before, fx.Node) or only_user(before) is not node or type(conv) is not nn.Conv2d:
            continue
        if norm.running_mean is None or has_hooks(conv):
            continue
        _replace(module, before, folded(conv, norm, alone=weights.count(id(conv.weight)) == 1))
        node.replace_all_uses_with(before)
        module.graph.erase_node(node)


def _plain_forwards() -> frozenset[object]:
    from atrous.models.layers import BatchNorm2d
    from atrous.models.norms import FrozenBatchNorm2d

    return frozenset(kind.forward for kind in (nn.BatchNorm2d, BatchNorm2d, FrozenBatchNorm2d))


_PLAIN_FORWARDS = _plain_forwards()  # a subclass of another library may do more than to normalise


def _pool_as_bias(module: fx.GraphModule) -> None:
    """Where a constant map is one part of what a 1x1 convolution projects, add its share once instead.

    ASPP's image pooling is a 1x1 map spread over all pixels (`expand`); its share of the projection is a vector.
    """
    for node in list(module.graph.nodes):
        parts, user = _joined(node), only_user(node)
        conv = layer_of(module, user)
        spread = [part for part in parts if part.op == "call_method" and part.target == "expand"]
        if user is None or not _is_plain(conv) or conv.kernel_size != (1, 1) or len(spread) != 1:
            continue
        if conv.groups != 1 or conv.padding != (0, 0) or parts[-1] is not spread[0] or only_user(spread[0]) is not node:
            continue
        pooled = spread[0].args[0]
        shape, spread_shape = _shape(pooled) if isinstance(pooled, fx.Node) else None, _shape(spread[0])
        if shape is None or spread_shape is None or shape[:2] != spread_shape[:2]:
            continue
        channels = shape[1]
        first = conv.in_channels - channels
        whole, share = _part(conv, 0, first, bias=True), _part(conv, first, conv.in_channels, bias=False)
        _replace(module, user, whole)
        name = _add(module, f"{user.target}_pooled", share)
        node.args, node.kwargs = (parts[:-1], 1), {}
        with module.graph.inserting_before(user):
            vector = module.graph.call_module(name, (pooled,))
        with module.graph.inserting_after(user):
            total = module.graph.call_function(operator.add, (user, vector))
        total.meta = dict(user.meta)
        user.replace_all_uses_with(total, delete_user_cb=lambda reader, total=total: reader is not total)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, *, alone: bool = False) -> LazyConv2d:
    """A convolution that does what `conv` and then `norm` in eval mode do; `alone` where nothing else reads its weights."""

    def make(for_good: bool) -> tuple[Tensor, Tensor | None]:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = torch.rsqrt(variance + norm.eps) * (1 if norm.weight is None else norm.weight)
        bias = ((0 if conv.bias is None else conv.bias) - mean) * scale + (0 if norm.bias is None else norm.bias)
        spread = scale[:, None, None, None]
        return (conv.weight.mul_(spread) if for_good and alone else conv.weight * spread), bias

    return LazyConv2d(conv, make, in_channels=conv.in_channels, bias=True)


def _unchanged(conv: nn.Conv2d) -> LazyConv2d:
    return LazyConv2d(
        conv, lambda _: (conv.weight, conv.bias), in_channels=conv.in_channels, bias=conv.bias is not None
    )


def _part(conv: nn.Conv2d, first: int, last: int, *, bias: bool) -> LazyConv2d:
    """A convolution that reads the channels from `first` to before `last` as `conv` does, with its bias or without."""

    def make(_: bool) -> tuple[Tensor, Tensor | None]:
        if isinstance(conv, LazyConv2d):
            conv.fill()
        return conv.weight[:, first:last].clone(), conv.bias if bias else None

    return LazyConv2d(conv, make, in_channels=last - first, bias=bias and conv.bias is not None)


def _joined(node: fx.Node) -> list[fx.Node]:
    """The maps whose channels a node puts together; none where it does something else."""
    arguments: dict[str, Any] = dict(zip(("tensors", "dim"), node.args, strict=False)) | node.kwargs
    maps = arguments.get("tensors")
    if node.target is not torch.cat or not isinstance(maps, list | tuple) or arguments.get("dim", 0) not in (1, -3):
        return []
    parts = [part for part in maps if isinstance(part, fx.Node)]
    return parts if len(set(parts)) == len(maps) else []


def _fuse(module: fx.GraphModule) -> None:
    """Take a following sum and activation into each convolution."""
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        conv = layer_of(module, node)
        if not _is_plain(conv):
            continue
        fused, last = FusedConv2d(conv if isinstance(conv, LazyConv2d) else _unchanged(conv)), node
        other = _other_of_sum(module, node, order)
        if other is not None:
            last = next(iter(node.users))
        after = only_user(last)
        layer = layer_of(module, after)
        activation = None if layer is None else activation_of(layer)
        if after is not None and activation is not None:
            fused.activation, last = activation, after
        name = _add(module, f"{node.target}_fused", fused)
        # A sum comes after both of its terms, so the convolution moves there.
        with module.graph.inserting_before(last):
            whole = module.graph.call_module(name, (node.args[0],) if other is None else (node.args[0], other))
        order[whole] = order[last]
        whole.meta = dict(last.meta)
        last.replace_all_uses_with(whole)
        _erase_from(module, last, node)


def _sum_instead_of_cat(module: fx.GraphModule) -> None:
    """Project each part of a concatenation as soon as it is there, and sum, so that the parts need not be kept.

    For parts that convolutions made, and a 1x1 convolution without an activation, as after `_pool_as_bias`.
    """
    for node in list(module.graph.nodes):
        parts = _joined(node)
        user = only_user(node)
        whole = layer_of(module, user)
        if user is None or not isinstance(whole, FusedConv2d) or len(parts) < 2:
            continue
        if whole.conv.kernel_size != (1, 1) or whole.conv.groups != 1 or whole.conv.stride != (1, 1):
            continue
        if whole.activation != "none" or len(user.args) != 1 or whole.conv.padding not in ((0, 0), 0):
            continue
        widths = [getattr(layer_of(module, part), "out_channels", None) for part in parts]
        if None in widths or any(only_user(part) is not node for part in parts):
            continue
        _project_parts(module, user, whole.conv, [(part, width) for part, width in zip(parts, widths, strict=True)])


def _project_parts(module: fx.GraphModule, user: fx.Node, conv: nn.Conv2d, parts: list[tuple[fx.Node, Any]]) -> None:
    """Replace the call `user` of `conv` on the concatenation of parts, each with its channels."""
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    total: fx.Node | None = None
    first = 0
    shares: dict[fx.Node, nn.Conv2d] = {}
    for part, width in parts:
        shares[part] = _part(conv, first, first + width, bias=not shares)
        first += width
    for index, part in enumerate(sorted(shares, key=lambda node: order[node])):
        name = _add(module, f"{user.target}_part{index}", FusedConv2d(shares[part]))
        with module.graph.inserting_after(part):
            total = module.graph.call_module(name, (part,) if total is None else (part, total))
        total.meta = dict(user.meta)
    assert total is not None
    user.replace_all_uses_with(total)
    module.graph.erase_node(user)


def _own_layers(module: fx.GraphModule) -> None:
    """Copy what is left of the network's own layers and is more than a convolution: it has a mode or state of its own."""
    for node in module.graph.nodes:
        layer = layer_of(module, node)
        if layer is not None and not isinstance(layer, FusedConv2d):
            module.set_submodule(str(node.target), copy.deepcopy(layer).eval().requires_grad_(False))


def _other_of_sum(module: fx.GraphModule, node: fx.Node, order: dict[fx.Node, int]) -> fx.Node | None:
    """What is added to a convolution's map, of the same size; None where nothing is, or the other term can take it in.

    A 1x1 map, such as a pooled share, is no such term.
    """
    total = only_user(node)
    if total is None or total.op != "call_function" or total.target not in SUMS or len(total.args) != 2 or total.kwargs:
        return None
    other = total.args[1] if total.args[0] is node else total.args[0]
    if not isinstance(other, fx.Node) or other is node or _shape(node) is None or _shape(other) != _shape(node):
        return None
    if _changes_a_map(module, total, node) or any(writes(module, passed) for passed in between(node, total)):
        return None
    later = isinstance(layer_of(module, other), nn.Conv2d) and only_user(other) is total and order[other] > order[node]
    return None if later else other


def _changes_a_map(module: fx.GraphModule, total: fx.Node, node: fx.Node) -> bool:
    """Whether a sum in place changes a map that others may read: not the convolution `node`'s own."""
    if total.target is not operator.iadd or total.args[0] is node:
        return False
    written = total.args[0]
    own = isinstance(layer_of(module, written), nn.Conv2d | FusedConv2d)
    return not (own and isinstance(written, fx.Node) and only_user(written) is total)


def _overwrite_last_read(module: fx.GraphModule) -> None:
    """Let a sum take the place of its other term where that is read for the last time: memory that is fresh costs faults.

    Only a map that a convolution made, and that only convolutions read, is surely nobody else's too.
    """
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node, index in order.items():
        layer = layer_of(module, node)
        if not isinstance(layer, FusedConv2d) or len(node.args) != 2:
            continue
        other = node.args[1]
        if not isinstance(other, fx.Node) or other is node.args[0]:
            continue
        own = [other, *(user for user in other.users if user is not node)]
        layer.overwrites = all(isinstance(layer_of(module, n), FusedConv2d) and order[n] < index for n in own)


def _scale_in_place(module: fx.GraphModule) -> None:
    """Let squeeze-and-excite multiply a map in its place, where the map is read for the last time."""
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node, index in order.items():
        if node.op != "call_function" or node.target not in PRODUCTS or len(node.args) != 2 or node.kwargs:
            continue
        for own, other in (node.args, node.args[::-1]):
            if (
                not isinstance(own, fx.Node)
                or not isinstance(other, fx.Node)
                or own is other
                or _shape(own) != _shape(node)
            ):
                continue
            readers = [own, *(user for user in own.users if user is not node)]
            if all(_makes_new(module, reader) and order[reader] < index for reader in readers):
                node.target, node.args = operator.imul, (own, other)
                break


def _makes_new(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node's result is surely a map of its own, and no view of another."""
    layer = layer_of(module, node)
    return isinstance(layer, FusedConv2d | nn.AdaptiveAvgPool2d)


def _erase_from(module: fx.GraphModule, last: fx.Node, first: fx.Node) -> None:
    """Erase the nodes from `last` back to `first`, which nothing reads any more."""
    node = last
    while True:
        before = [argument for argument in node.args if isinstance(argument, fx.Node)]
        module.graph.erase_node(node)
        if node is first:
            return
        node = next(argument for argument in before if argument is first or first in argument.args)


def _replace(module: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    """Let `node` call another layer, under a name of its own."""
    node.target = _add(module, f"{node.target}_own", layer)


def _add(module: fx.GraphModule, name: str, layer: nn.Module) -> str:
    """Add a layer under a name that nothing has yet: a layer that is called twice may become two different ones."""
    name = free = name.replace(".", "_")
    number = 1
    while hasattr(module, free):
        number += 1
        free = f"{name}_{number}"
    module.add_submodule(free, layer)
    return free


def _is_plain(layer: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a convolution and nothing more."""
    return layer is not None and type(layer) in _PLAIN_CONVOLUTIONS and not has_hooks(layer)
