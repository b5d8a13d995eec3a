"""From a decoded frame to upright RGB: the colour matrix, the value range and the turn that the file states."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDENTITY", "Matrix", "Pictures", "display_matrix", "turned", "upright_size"]

# Colour matrices as H.273 (table 4) and FFmpeg number them, and what swscale calls them.
BT709, UNSPECIFIED, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020 = 1, 2, 4, 5, 6, 7, 9
_SWSCALE = {BT709: 1, FCC: 4, BT470BG: 5, SMPTE170M: 5, SMPTE240M: 7, BT2020: 9}
_NAMES = {1: "BT.709", 4: "FCC", 5: "BT.601", 7: "SMPTE 240M", 9: "BT.2020"}
HD_ROWS = 720
"""From here on players take BT.709 for a file that does not say; below, BT.601."""
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, H.273 table 3
_BILINEAR, _FULL_CHROMA, _ACCURATE = 0x2, 0x2000, 0x40000  # swscale's flags


class Matrix(NamedTuple):
    """How a frame is turned for display: column x, row y goes to (a x + c y, b x + d y)."""

    a: int
    b: int
    c: int
    d: int


IDENTITY = Matrix(1, 0, 0, 1)


def display_matrix(frame: Any) -> tuple[Matrix, bool]:
    """A frame's turn by quarters with mirroring, and whether it is one: other angles are read as no turn."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None or len(bytes(data)) < 36:
        return IDENTITY, True
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(data), np.int32)[:5])
    signs = Matrix(*(int(np.sign(value)) for value in (a, b, c, d)))
    is_plain = a != 0 and d != 0 and b == c == 0
    is_quarter = b != 0 and c != 0 and a == d == 0
    return (signs, True) if is_plain or is_quarter else (IDENTITY, False)


def turned(pixels: NDArray[np.uint8], matrix: Matrix) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) as they are to be seen, (H, W, 3) or (W, H, 3)."""
    if matrix == IDENTITY:
        return pixels
    if matrix.a == 0:
        pixels = pixels.transpose(1, 0, 2)
    rows, columns = (matrix.b, matrix.c) if matrix.a == 0 else (matrix.d, matrix.a)
    return np.ascontiguousarray(pixels[::rows, ::columns])


def upright_size(size: tuple[int, int], matrix: Matrix) -> tuple[int, int]:
    """Height and width after the turn."""
    return (size[1], size[0]) if matrix.a == 0 else size


class Pictures:
    """Makes RGB pictures of a clip's frames; what the first frame states, and what was assumed, holds for all.

    `size` is (height, width) upright, `colours` the matrix in words, `notes` what the user should know.
    """

    def __init__(self, first: Any, reformatter: Any) -> None:
        self._reformatter = reformatter
        self._coded = (first.height, first.width)
        self.matrix, is_quarter = display_matrix(first)
        self.size = upright_size(self._coded, self.matrix)
        self.notes: list[str] = []
        if not is_quarter:
            self.notes.append("its frames are to be turned by another angle than quarters, which is left")
        self.colours = "RGB or grey"
        self._source = self._matrix_of(first)
        if first.color_trc in _HDR:
            self.notes.append(
                f"its brightness is stored for HDR displays ({_HDR[first.color_trc]}) and taken as it is: frames look pale"
            )
        if first.interlaced_frame:
            self.notes.append("its frames are interlaced and are taken as they are")

    def _matrix_of(self, first: Any) -> int | None:
        if first.format.is_rgb or len(first.format.components) < 3:
            return None  # no colour matrix
        if first.colorspace in _SWSCALE:
            self.colours = _NAMES[_SWSCALE[first.colorspace]]
            return _SWSCALE[first.colorspace]
        assumed = _SWSCALE[BT709 if first.height >= HD_ROWS else SMPTE170M]
        self.colours = f"{_NAMES[assumed]}, assumed by the height as players do"
        if first.colorspace != UNSPECIFIED:
            self.notes.append(f"its colour matrix (number {first.colorspace}) is not known; {_NAMES[assumed]} is taken")
        return assumed

    def rgb(self, frame: Any) -> NDArray[np.uint8]:
        """A frame as (H, W, 3) uint8, upright, at the first frame's size."""
        height, width = self._coded
        picture = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=self._source,
            interpolation=_BILINEAR | _FULL_CHROMA | _ACCURATE,
            threads=1,
        )
        return turned(picture.to_ndarray(), self.matrix)
