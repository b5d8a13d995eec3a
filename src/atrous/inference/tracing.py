"""A network as a graph of its layers, which the passes of this package rewrite."""

import operator
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, fx, nn

from atrous.inference.means import GlobalMean
from atrous.models.deeplab import DeepLab

__all__ = ["UntraceableError", "between", "has_hooks", "layer_of", "only_user", "trace", "writes"]

WHOLE = (nn.Conv2d, nn.modules.batchnorm._BatchNorm, nn.Dropout, nn.GroupNorm, GlobalMean)


class UntraceableError(Exception):
    """The network does something that a graph of layers cannot say; it is run as it is."""


class _Coarse(nn.Module):
    """A DeepLab up to its coarse logits."""

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.coarse_logits(image)


class _Proxy(fx.Proxy):
    """Keeps sums and the like in place, which its base class makes new maps of: another name may read the same map."""


def _in_place(operation: Callable[..., object]) -> Callable[[fx.Proxy, object], fx.Proxy]:
    return lambda proxy, other: proxy.tracer.create_proxy("call_function", operation, (proxy, other), {})


IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)
for _operation in IN_PLACE:
    setattr(_Proxy, f"__{_operation.__name__}__", _in_place(_operation))


class _Tracer(fx.Tracer):
    """Keeps the layers that passes look for in one piece, subclasses too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, WHOLE) or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)


def trace(network: nn.Module) -> fx.GraphModule:
    """The graph of a network in eval mode, over the network's own layers.

    A DeepLab's graph gives coarse logits; another module's gives what its `forward` gives.

    Raises:
        UntraceableError: its Python code decides by the values of tensors, or cannot be followed.
    """
    root = _Coarse(network) if isinstance(network, DeepLab) else network
    try:
        with torch.no_grad():
            graph = _Tracer().trace(root)
    except Exception as error:  # whatever a module's own code does with a stand-in for a tensor
        raise UntraceableError(f"{type(network).__name__}: {type(error).__name__}: {error}") from error
    for node in graph.nodes:
        if node.op == "call_module" and not node.args and list(node.kwargs) == ["input"]:
            node.args, node.kwargs = (node.kwargs["input"],), {}
    return fx.GraphModule(root, graph)


def layer_of(module: fx.GraphModule, node: object) -> nn.Module | None:
    """The layer that `node` calls; None where it calls none."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return module.get_submodule(str(node.target))
    return None


def only_user(node: fx.Node) -> fx.Node | None:
    """The node that alone reads `node`; None where there are several, or none."""
    users: Iterator[fx.Node] = iter(node.users)
    return next(users) if len(node.users) == 1 else None


def between(first: fx.Node, last: fx.Node) -> Iterator[fx.Node]:
    """The nodes that run after `first` and before `last`."""
    node = first.next
    while node is not last:
        yield node
        node = node.next


def writes(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node may change a map in place, by a layer, an operator, or a function or method as torch names them."""
    layer = layer_of(module, node)
    if layer is not None:
        return bool(getattr(layer, "inplace", False))
    if node.op not in ("call_function", "call_method"):
        return False
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return (
        node.target in IN_PLACE
        or name.endswith("_")
        or bool(node.kwargs.get("inplace"))
        or any(value is True for value in node.args)
    )


def has_hooks(layer: nn.Module) -> bool:
    """Whether something else happens when the layer is called."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
