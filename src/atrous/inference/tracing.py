"""A network as a graph of its layers, which the passes of this package rewrite."""

from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from atrous.models.deeplab import DeepLab

__all__ = ["UntraceableError", "layer_of", "only_user", "trace"]

WHOLE = (nn.Conv2d, nn.modules.batchnorm._BatchNorm, nn.Dropout, nn.GroupNorm)


class UntraceableError(Exception):
    """The network does something that a graph of layers cannot say; it is run as it is."""


class _Coarse(nn.Module):
    """A DeepLab up to its coarse logits."""

    def __init__(self, network: DeepLab) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.coarse_logits(image)


class _Tracer(fx.Tracer):
    """Keeps the layers that passes look for in one piece, subclasses too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, WHOLE) or super().is_leaf_module(m, module_qualified_name)


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
