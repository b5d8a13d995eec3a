"""A model from a file."""

from pathlib import Path

from torch import nn

from atrous import checkpoint
from atrous.allocator import give_back_freed_memory
from atrous.errors import MissingExtraError, WeightsError
from atrous.prediction.model import Model
from atrous.tiling import Means

__all__ = ["load"]


def load(
    source: str | Path,
    *,
    device: str = "auto",
    engine: str = "auto",
    keep: bool = False,
    tile: str | int = "auto",
    tile_means: Means = "image",
) -> Model:
    """Open a run folder or a model file; `device`, `engine`, `keep`, `tile` and `tile_means` are as for `Model`.

    Raises:
        WeightsError: nothing there, or a file without what prediction needs.
    """
    if str(source).startswith("hf:"):
        raise MissingExtraError(
            f"{source}: loading from the Hugging Face hub is not part of this version; "
            "download the repository's .safetensors file and give its path."
        )
    path = Path(source)
    if path.is_dir():
        path = path / "model.safetensors"
        if not path.is_file():
            raise WeightsError(
                f"{source}: no model.safetensors in this folder; expected a run folder or a .safetensors file. "
                "A run that never reached its first validation has none: train again."
            )
    opened = _identity(path)
    loaded = checkpoint.load_model(path)
    give_back_freed_memory()

    def reload() -> nn.Module:
        if _identity(path) != opened:
            raise WeightsError(
                f"{path} has changed since it was opened, and its weights are needed again; open it again."
            )
        return checkpoint.load_model(path).network

    labels, preprocessing, metadata = loaded.labels, loaded.preprocessing, loaded.metadata
    return Model(
        loaded.network,
        labels=labels,
        preprocessing=preprocessing,
        device=device,
        engine=engine,
        keep=keep,
        reload=reload,
        tile=tile,
        tile_means=tile_means,
        metadata=metadata,
        path=path,
    )


def _identity(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or written to; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
