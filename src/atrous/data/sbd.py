"""The Semantic Boundaries Dataset (SBD): masks for 11,355 images of PASCAL VOC, in MATLAB files.

Hariharan et al., "Semantic contours from inverse detectors", ICCV 2011. The images are VOC's; only the masks are used.
"""

import importlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import DataError, MissingExtraError
from atrous.files import make_folder
from atrous.images import write_mask
from atrous.labels import VOC

__all__ = ["convert_masks", "mask_place", "read_mat_mask", "require_scipy", "train_ids"]

_MASKS = ("benchmark_RELEASE", "dataset", "cls")  # where the class masks lie in SBD's archive, ID.mat


def mask_place(path: PurePosixPath) -> PurePosixPath | None:
    """Where a member of SBD's archive belongs: masks by their name, all else nowhere."""
    is_mask = path.parts[:-1] == _MASKS and path.suffix == ".mat"
    return PurePosixPath(path.name) if is_mask else None


def train_ids(*, extra: Collection[str], voc_train: Collection[str], voc_val: Collection[str]) -> list[str]:
    """The images of `trainaug`: those with an extra mask and VOC's train, without VOC's val, sorted.

    With SBD's 11,355 they are 10,582. SBD has no rule of its own that keeps VOC's val apart: its train split overlaps it.
    """
    return sorted((set(extra) | set(voc_train)) - set(voc_val))


def require_scipy() -> Any:
    """The module `scipy.io`.

    Raises MissingExtraError where it is not installed.
    """
    try:
        return importlib.import_module("scipy.io")
    except ImportError as error:
        raise MissingExtraError(
            "SBD's masks are MATLAB files, and scipy, which reads them, is not installed. Install it with "
            "`pip install 'atrous[sbd]'`."
        ) from error


def read_mat_mask(path: Path) -> NDArray[np.uint8]:
    """Read `GTcls.Segmentation` of an SBD file: (H, W) uint8, class numbers 0 to 20 as VOC's. SBD has no void.

    Raises DataError for another file, MissingExtraError without scipy.
    """
    scipy_io = require_scipy()
    try:
        mask = np.asarray(scipy_io.loadmat(path, variable_names=["GTcls"])["GTcls"][0, 0]["Segmentation"])
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise _no_mask(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    if mask.ndim != 2 or mask.size == 0 or mask.dtype.kind not in "ui":
        raise _no_mask(path, f"its mask has the shape {mask.shape} and the type {mask.dtype}")
    if mask.min() < 0 or mask.max() >= VOC.num_classes:
        raise _no_mask(path, f"its mask holds {mask.min()} to {mask.max()}")
    return mask.astype(np.uint8)


def convert_masks(files: Collection[Path], folder: Path) -> None:
    """Write every SBD file as palette PNG, with the same name, into the new folder `folder`.

    Raises DataError for a file that is none of SBD's, MissingExtraError, OutputError.
    """
    make_folder(folder)
    for path in files:
        write_mask(folder / f"{path.stem}.png", read_mat_mask(path), VOC)


def _no_mask(path: Path, found: str) -> DataError:
    return DataError(
        f"{path} is no mask of SBD: {found}. Expected GTcls.Segmentation with class numbers 0 to 20. "
        "Fetch SBD's archive again."
    )
