"""Tensors in `.safetensors` files: written whole or not at all, and read with every doubt turned into one error.

A safetensors file that was damaged loads without complaint in 15 % of the cases, so files written here carry a SHA-256
of all they hold, which is checked when they are read.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atrous.errors import OutputError, WeightsError
from atrous.files import replacing

__all__ = [
    "DIGEST_KEY",
    "FLOATS",
    "as_written",
    "fit_problems",
    "is_safetensors",
    "non_finite",
    "read_tensors",
    "shortened",
    "write_tensors",
]

DIGEST_KEY = "sha256"
SHOWN = 10  # names in a message
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, key: str, document: Mapping[str, object]) -> None:
    """Write `tensors` (any device, shape and stride) to `path`, atomically, and `document` as JSON under `key`.

    The metadata has this one key, because safetensors writes several in random order: the same model gives the same
    bytes. The digest goes into the document as "sha256".

    Raises:
        ValueError: a document with NaN in it.
        OutputError: the file cannot be written.
    """
    plain = as_written(tensors)
    complete = json.loads(json.dumps(document, allow_nan=False))
    complete[DIGEST_KEY] = digest(plain, complete)
    try:
        with replacing(path) as temporary:
            save_file(plain, temporary, metadata={key: json.dumps(complete)})
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path} could not be written: {error}. What it held before is still there. Free some space or choose "
            "another folder."
        ) from error


def as_written(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as a file has them: on the CPU, contiguous, each in memory of its own. Others are copied for it."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # Two names of one memory are two tensors in the file.
    seen: set[int] = set()
    for name, tensor in plain.items():
        if tensor.untyped_storage().data_ptr() in seen:
            plain[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    return plain


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, in memory and on the CPU, and the metadata of a `.safetensors` file.

    Raises:
        WeightsError: no such file, no permission, damaged, or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            # Cloned, for the file's memory map would follow a later change of the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WeightsError(
            f"{path} cannot be read as a .safetensors file ({reason}). Expected an undamaged file. Check the path, or "
            "copy or download the file again."
        ) from error
    for document in _documents(metadata):
        if document.get(DIGEST_KEY) != digest(tensors, document):
            raise WeightsError(
                f"{path} is damaged: its content does not have the SHA-256 that was stored with it. "
                "Expected the file as atrous wrote it. Copy it again from where it came from."
            )
    return tensors, metadata


def _documents(metadata: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """The JSON objects with a digest among the metadata; other programs write metadata of their own."""
    for text in metadata.values():
        with suppress(ValueError, RecursionError):
            document = json.loads(text)
            if isinstance(document, dict) and DIGEST_KEY in document:
                yield document


def digest(tensors: Mapping[str, Tensor], document: Mapping[str, object]) -> str:
    """SHA-256, in hexadecimal, of a document (its digest left out) and of contiguous CPU tensors.

    Of the tensors it takes name, type, shape and bytes, in the order of names.
    """
    rest = {key: value for key, value in document.items() if key != DIGEST_KEY}
    total = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"\n{len(name)} {name} {tensor.dtype} {list(tensor.shape)}\n".encode(errors="surrogatepass"))
        if tensor.numel():
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as a safetensors file: 8 bytes for the length of the header, and a JSON object.

    Raises OSError when it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def non_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold NaN or infinity."""
    return [name for name, tensor in tensors.items() if tensor.dtype in FLOATS and not tensor.isfinite().all()]


def fit_problems(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps `given` from filling `own`, in words: tensors missing, unexpected, of another shape or kind of number.

    Any floating type fills any other; whole numbers must be of the same type.
    """
    misfits: list[str] = []
    for name, target in own.items():
        if name not in given:
            continue
        source = given[name]
        fits = source.dtype in FLOATS if target.dtype in FLOATS else source.dtype == target.dtype
        if source.shape != target.shape or not fits:
            misfits.append(f"{name} {_form(source)} for {_form(target)}")
    found = {
        "missing": own.keys() - given.keys(),
        "unexpected": given.keys() - own.keys(),
        "of another shape or type": misfits,
    }
    return [f"{len(names)} {kind} ({shortened(sorted(names))})" for kind, names in found.items() if names]


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def shortened(names: Iterable[str]) -> str:
    """At most 10 of the names, each fit for a line of text, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    # Names come from files of unknown origin: no control characters, no megabytes.
    return ", ".join(name[:120] if name.isprintable() else repr(name[:120]) for name in names[:SHOWN]) + more
