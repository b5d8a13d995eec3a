"""`atrous import`: weights of other programs become model files."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from atrous.cli import console

__all__ = ["import_weights"]


def import_weights(
    file: Path,
    /,
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    out: Path | None = None,
    output_stride: Literal[8, 16] | None = None,
    names: str | None = None,
) -> int:
    """Turn another program's DeepLab into a model file that gives the same logits.

    Parameters
    ----------
    file:
        Its weights: .pth, .pt, .bin, .safetensors or .npz. Nothing in it is run.
    from_:
        torchvision, tensorflow, huggingface, smp, vainf, jfzhang95 or mmseg; by default as the tensors' names tell.
    out:
        Where the model file goes; by default the file's name with .safetensors, in the current folder.
    output_stride:
        What the network was trained with, where the file does not tell; TensorFlow's may have either.
    names:
        The classes' names in order, with commas.
    """
    from atrous import checkpoint
    from atrous.errors import OutputError
    from atrous.importers import Choices, read_foreign

    target = out if out is not None else Path(f"{file.stem}.safetensors")
    if target.exists():
        raise OutputError(
            f"{target} is there already. Expected a new file. Give another place with --out, or remove it."
        )
    chosen = None if names is None else tuple(name.strip() for name in names.split(","))
    imported = read_foreign(file, source=from_, choices=Choices(output_stride=output_stride, names=chosen))
    count = sum(parameter.numel() for parameter in imported.network.parameters())
    console.note(f"recognised {imported.program}: {imported.network.name}, {count:,} parameters")
    for line in imported.notes:
        console.note(f"  {line}")
    checkpoint.save_model(
        target, imported.network, labels=imported.labels, preprocessing=imported.preprocessing, licence=None
    )
    console.result(str(target))
    console.note(f"look at it: atrous info {target}")
    return 0
