"""Which engine runs a network: as asked, or by rule, with the reason."""

import importlib.util
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn

from atrous.engines.base import Engine
from atrous.engines.conversion import converted, is_converted, need
from atrous.engines.file_engines import OnnxEngine, OpenVinoEngine
from atrous.engines.torch_engines import PlainEngine, TorchEngine
from atrous.errors import ConfigError
from atrous.inference.tracing import UntraceableError

__all__ = ["ENGINES", "EngineName", "make_engine"]

EngineName = Literal["auto", "torch", "onnxruntime", "openvino", "plain"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


def make_engine(
    name: str,
    network: nn.Module,
    *,
    device: torch.device,
    bands: int,
    keep: bool = False,
    owns: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Engine:
    """Build an engine for `network`.

    `auto` takes torch, which with Numba is the fastest on the CPUs that were measured and needs no converted file;
    without Numba, a file that was converted and kept for this network before (`atrous bench --keep`).

    Args:
        name: one of `ENGINES`.
        network: in any mode.
        device: the engines that run files use the CPU.
        bands: of the network's images.
        keep: whether a file that has to be converted is kept in the cache folder.
        owns: whether nobody else has the network, so that its memory can be given back.
        say: hears that it is converted.

    Raises:
        ConfigError: an unknown engine, or one that cannot run this network or use this device.
        MissingExtraError: a package that the engine needs is not installed.
    """
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r} is not known; expected one of: {', '.join(ENGINES)}.")
    if name == "plain":
        return PlainEngine(network, device=device)
    if name == "torch":
        return TorchEngine(network, device=device, owns=owns, reason="as asked")
    if name == "auto":
        return _by_rule(network, device, owns)
    if device.type != "cpu":
        raise ConfigError(
            f"engine {name} runs on the CPU, and the device is {device}; give --device cpu, or --engine torch."
        )
    need(name)  # before the network is converted, which takes long
    try:
        path = converted(network, bands=bands, keep=keep, say=say)
    except UntraceableError as error:
        raise ConfigError(f"engine {name} cannot run this network ({error}); take --engine torch.") from error
    return OnnxEngine(path) if name == "onnxruntime" else OpenVinoEngine(path)


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _by_rule(network: nn.Module, device: torch.device, owns: bool) -> Engine:
    on_cpu, compiled = device.type == "cpu", _is_installed("numba")
    runner = OpenVinoEngine if _is_installed("openvino") else OnnxEngine if _is_installed("onnxruntime") else None
    if on_cpu and not compiled and runner is not None and is_converted(network):
        path = converted(network, bands=3, keep=True)
        return runner(path, reason="a converted file was kept for this network, and Numba is not installed")
    reason = "the fastest here that needs no converted file" if device.type == "cpu" else f"the device is {device}"
    return TorchEngine(network, device=device, owns=owns, reason=reason)
