"""A simplified network as an ONNX file, made once and kept: what ONNX Runtime and OpenVINO run."""

import atexit
import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import fx, nn

from atrous.cache import cache_folder
from atrous.errors import MissingExtraError
from atrous.files import make_folder, sha256_of
from atrous.inference import simplify
from atrous.inference.convolution import FusedConv2d
from atrous.tensors import digest
from atrous.version import __version__

__all__ = ["converted", "is_converted", "missing_extra", "need"]

OPSET = 20


def converted(network: nn.Module, *, bands: int, keep: bool, say: Callable[[str], None] = lambda text: None) -> Path:
    """The network as an ONNX file, any batch, height and width; from the cache folder where it was kept.

    Exporting takes some seconds to half a minute. With `keep` False the file lies in the system's folder for temporary
    files, and goes with the process.

    Raises:
        MissingExtraError: the exporter is not installed.
        UntraceableError: the network cannot be followed.
    """
    path = _kept_path(network)
    if _is_whole(path):
        return path
    need("onnx", "onnxscript")
    say("the network is converted to ONNX, once")
    folder = Path(tempfile.mkdtemp(prefix="atrous-onnx-"))
    if not keep:
        path = folder / path.name
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        made = folder / "network.onnx"
        _export(simplify(network), made, bands)
        if keep:
            make_folder(path.parent)
            _land(made, path)
        else:
            made.rename(path)
    finally:
        if keep:
            shutil.rmtree(folder, ignore_errors=True)
    return path


def is_converted(network: nn.Module) -> bool:
    """Whether the cache folder has the file."""
    return _is_whole(_kept_path(network))


def missing_extra(package: str) -> MissingExtraError:
    """What to say where a package of the extra `export` is missing."""
    return MissingExtraError(
        f'{package} is not installed, and this engine needs it. Run: pip install "atrous[export]"; or choose --engine torch.'
    )


def need(*packages: str) -> None:
    """Raise MissingExtraError unless the packages are installed."""
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_extra(package)


def _kept_path(network: nn.Module) -> Path:
    """Named by what the file depends on: weights, and the layers with their rates and strides, which are no weights."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    settings = {"name": getattr(network, "name", type(network).__name__), "opset": OPSET, "atrous": __version__}
    settings["torch"] = torch.__version__
    built = f"{getattr(network, 'settings', '')!r} {type(network).__module__} {network!r}"
    name = hashlib.sha256((digest(tensors, settings) + built).encode()).hexdigest()[:32]
    return cache_folder() / "converted" / f"{name}.onnx"


def _is_whole(path: Path) -> bool:
    """Whether the file is there with the digest that was written beside it."""
    side = path.with_suffix(".sha256")
    try:
        return side.read_text("ascii") == sha256_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def _land(made: Path, path: Path) -> None:
    """Put the file into the cache folder: whole, with its digest beside it last."""
    from atrous.files import replacing, write_atomically

    with replacing(path) as temporary:
        shutil.copyfile(made, temporary)
    write_atomically(path.with_suffix(".sha256"), sha256_of(path).encode())


def _export(module: fx.GraphModule, path: Path, bands: int) -> None:
    """Write the graph with its weights in one file; of a dictionary of answers, as torchvision gives, the logits."""
    answer = next(node for node in module.graph.nodes if node.op == "output")
    if isinstance(answer.args[0], dict):
        answer.args = (answer.args[0]["out"],)
        module.recompile()
    for layer in list(module.modules()):
        if isinstance(layer, FusedConv2d):
            layer.forward = layer.plain  # the definition: oneDNN's call has no ONNX form
    dimensions = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    image = torch.randn(2, bands, 96, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        torch.onnx.export(
            module,
            (image,),
            str(path),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(dimensions,),
            external_data=False,
            verbose=False,
        )
