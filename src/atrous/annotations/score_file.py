"""Probabilities of one image as NumPy's `.npz`, written piece by piece."""

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from atrous.files import replacing

__all__ = ["write_scores"]

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that ZIP can say: the same scores give the same bytes


def write_scores(
    path: Path, strips: Iterable[NDArray[np.float16]], shape: tuple[int, int, int], names: Sequence[str]
) -> None:
    """Write `scores`, (K, H, W) float16, and `names`, the K class names; `numpy.load` reads them without pickle.

    The array lies in Fortran order, class by class within a pixel and column after column, so that it can be written while
    it is computed. It is not compressed: that would halve it, but takes several times as long as computing it.

    Args:
        path: `NAME.npz`.
        strips: columns from left to right, (columns, H, K) each.
        shape: K, H, W.
        names: of the classes, in order.

    Raises OutputError.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(zipfile.ZipInfo("scores.npy", _DATE), "w", force_zip64=True) as file:
            header = {"descr": npy.dtype_to_descr(np.dtype("<f2")), "fortran_order": True, "shape": shape}
            npy.write_array_header_1_0(file, header)
            for strip in strips:
                file.write(np.ascontiguousarray(strip, "<f2").data)
        with archive.open(zipfile.ZipInfo("names.npy", _DATE), "w") as file:
            npy.write_array(file, np.array(names, dtype=np.str_), allow_pickle=False)
