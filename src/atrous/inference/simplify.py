"""The same function in fewer steps: batch norm folded, activations and sums taken into convolutions, pooling as a bias."""

import copy
import operator

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval

from atrous.inference.convolution import FusedConv2d, activation_of
from atrous.inference.tracing import UntraceableError, layer_of, only_user, trace

__all__ = ["simplify"]

EXAMPLE = (96, 128)  # height and width of an image whose maps are larger than 1x1 at stride 32
SUMS = (operator.add, operator.iadd, torch.add)


def simplify(network: nn.Module) -> fx.GraphModule:
    """A copy of `network` that computes the same logits, to float rounding, in fewer steps.

    A DeepLab's copy gives coarse logits (N, K, h, w). The copy is in eval mode; the network is not changed.

    Raises:
        UntraceableError: the network cannot be followed.
    """
    module = trace(copy.deepcopy(network).eval().requires_grad_(False))
    _drop_idle(module)
    _fold_norms(module)
    _note_shapes(module)
    _pool_as_bias(module)
    _fuse(module)
    module.graph.eliminate_dead_code()
    _overwrite_last_read(module)
    module.graph.lint()
    module.recompile()
    module.delete_all_unused_submodules()
    return module


def _note_shapes(module: fx.GraphModule) -> None:
    """Write every node's shape for a small image into its `meta`."""
    conv = next((layer for layer in module.modules() if isinstance(layer, nn.Conv2d)), None)
    if conv is None:
        raise UntraceableError("no convolution in the network")
    image = torch.zeros(1, conv.in_channels, *EXAMPLE, device=conv.weight.device)
    try:
        with torch.inference_mode():
            ShapeProp(module).propagate(image.to(conv.weight.dtype))
    except Exception as error:  # what works on one size need not be a function of images
        raise UntraceableError(f"{type(error).__name__}: {error}") from error


def _shape(node: fx.Node) -> torch.Size | None:
    return getattr(node.meta.get("tensor_meta"), "shape", None)


def _drop_idle(module: fx.GraphModule) -> None:
    """Remove what does nothing in eval mode."""
    for node in list(module.graph.nodes):
        if isinstance(layer_of(module, node), nn.Dropout | nn.Identity):
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)


def _fold_norms(module: fx.GraphModule) -> None:
    """Fold every batch norm that alone reads a convolution into that convolution; a copy of it, for it may be shared."""
    for node in list(module.graph.nodes):
        norm, before = layer_of(module, node), node.args[0] if node.args else None
        if not isinstance(norm, nn.BatchNorm2d) or type(norm).forward not in _PLAIN_FORWARDS:
            continue
        conv = layer_of(module, before)
        if not isinstance(before, fx.Node) or only_user(before) is not node or type(conv) is not nn.Conv2d:
            continue
        _replace(module, before, fuse_conv_bn_eval(conv, norm))
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
        if node.op != "call_function" or node.target is not torch.cat or not isinstance(node.args[0], list | tuple):
            continue
        parts, user = list(node.args[0]), only_user(node)
        conv = layer_of(module, user)
        spread = [part for part in parts if part.op == "call_method" and part.target == "expand"]
        if user is None or type(conv) is not nn.Conv2d or conv.kernel_size != (1, 1) or len(spread) != 1:
            continue
        if conv.groups != 1 or parts[-1] is not spread[0] or only_user(spread[0]) is not node:
            continue
        pooled = spread[0].args[0]
        channels = _out_channels(module, pooled)
        if channels is None:
            continue
        whole, share = _split(conv, conv.in_channels - channels)
        _replace(module, user, whole)
        name = f"{user.target}_pooled"
        module.add_submodule(name, share)
        node.args = (parts[:-1], *node.args[1:])
        with module.graph.inserting_before(user):
            vector = module.graph.call_module(name, (pooled,))
        with module.graph.inserting_after(user):
            total = module.graph.call_function(operator.add, (user, vector))
        user.replace_all_uses_with(total, delete_user_cb=lambda reader, total=total: reader is not total)


def _split(conv: nn.Conv2d, first: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Two convolutions whose sum is `conv` of the concatenation: of its `first` channels, with the bias, and of the rest."""
    whole = nn.Conv2d(first, conv.out_channels, 1)
    share = nn.Conv2d(conv.in_channels - first, conv.out_channels, 1, bias=False)
    with torch.no_grad():
        whole.weight.copy_(conv.weight[:, :first])
        share.weight.copy_(conv.weight[:, first:])
        assert whole.bias is not None
        whole.bias.copy_(torch.zeros(conv.out_channels) if conv.bias is None else conv.bias)
    return whole.eval(), share.eval()


def _out_channels(module: fx.GraphModule, node: object) -> int | None:
    """The channels of a node's map: those of the convolution behind its activation."""
    while isinstance(node, fx.Node):
        layer = layer_of(module, node)
        if isinstance(layer, nn.Conv2d):
            return layer.out_channels
        if layer is None or activation_of(layer) is None:
            return None
        node = node.args[0]
    return None


def _fuse(module: fx.GraphModule) -> None:
    """Take a following sum and activation into each convolution."""
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        conv = layer_of(module, node)
        if type(conv) is not nn.Conv2d:
            continue
        fused, last = FusedConv2d(conv), node
        other = _other_of_sum(module, node, order)
        if other is not None:
            last = next(iter(node.users))
        after = only_user(last)
        layer = layer_of(module, after)
        activation = None if layer is None else activation_of(layer)
        if after is not None and activation is not None:
            fused.activation, last = activation, after
        name = f"{node.target}_fused"
        module.add_submodule(name, fused)
        # A sum comes after both of its terms, so the convolution moves there.
        with module.graph.inserting_before(last):
            whole = module.graph.call_module(name, (node.args[0],) if other is None else (node.args[0], other))
        order[whole] = order[last]
        whole.meta = dict(last.meta)
        last.replace_all_uses_with(whole)
        _erase_from(module, last, node)


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
    later = isinstance(layer_of(module, other), nn.Conv2d) and only_user(other) is total and order[other] > order[node]
    return None if later else other


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
    name = f"{str(node.target).replace('.', '_')}_own"
    module.add_submodule(name, layer)
    node.target = name
