"""Arrays from an `.npz` file, with nothing in it run and not more memory than is reasonable."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atrous.errors import WeightsError
from atrous.tensors import non_finite, shortened

__all__ = ["is_npz", "read_npz"]

LARGEST_BYTES = 2 * 2**30  # of all arrays together; the largest DeepLab has a quarter of it


def is_npz(path: Path) -> bool:
    """Whether the file is a zip archive of `.npy` files alone. Raises OSError when it cannot be read."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def read_npz(path: Path) -> dict[str, Tensor]:
    """Return the arrays as tensors in memory.

    Raises:
        WeightsError: damaged, too large, objects in place of numbers, or NaN among them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST_BYTES:
            raise WeightsError(
                f"{path} unpacks to {size / 2**30:.1f} GiB. Expected weights of at most {LARGEST_BYTES / 2**30:.0f} GiB. "
                "It was not opened; check where it came from."
            )
        with np.load(path, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
    except WeightsError:
        raise
    except Exception as error:  # damaged archives and headers raise many kinds
        raise WeightsError(
            f"{path} cannot be read as arrays ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]}). Expected "
            "an undamaged .npz file of numbers. Copy or download it again."
        ) from error
    broken = non_finite(tensors)
    if broken:
        raise WeightsError(
            f"{path} holds NaN or infinity in {len(broken)} arrays: {shortened(broken)}. Expected finite numbers. "
            "Copy or download it again."
        )
    return tensors
