"""Building networks that have shapes but no memory and no numbers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["shapes_only"]


@contextmanager
def shapes_only() -> Iterator[None]:
    """Within it, what is built lies on the device `meta`, and filling it with numbers does nothing.

    Drawing random numbers for tensors without memory would draw none, but PyTorch loads its compiler for it: a second,
    and 75 MB.
    """
    with torch.device("meta"), _NoFilling():
        yield


class _NoFilling(TorchFunctionMode):
    """Leaves out operations that change a tensor without memory in place."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, or give its tensor back as it is."""
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        changed = args[0] if args else named.get("tensor")
        in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if in_place and isinstance(changed, Tensor) and changed.is_meta:
            return changed
        return func(*args, **named)
