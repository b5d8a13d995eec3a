"""The matrices of minimal filtering: fewer products for a filter of three taps along a line of values.

A scheme computes `outputs` filtered values from `inputs` values with `points` products instead of `3 * outputs`:

    y = output @ ((taps @ g) * (input @ x))

with x the values (inputs,), g the taps (3,) and y the filtered values (outputs,). In two dimensions it is applied along
rows and columns, with `points ** 2` products for `outputs ** 2` values of `9 * outputs ** 2`.

Two families are here:

- `F4`, `F6`: minimal filtering F(n, 3) as in Lavin and Gray (arXiv 1509.09308, section 4), made from points by Cook and
  Toom's construction. A line of any length is cut into tiles of n values that overlap by two.
- `P1`, `P2`, `P3`: a whole line of 1, 2 or 3 values with zeros on both sides, which is what an atrous convolution makes
  of a map that its rate divides into 1, 2 or 3 steps. Its matrix is a tridiagonal Toeplitz matrix, which has rank 1, 3
  and 4: cheaper than the 3, 4 and 5 products of F(1, 3), F(2, 3) and F(3, 3), and more accurate.

`docs/decisions/0030-polyphase.md` has the derivation of P3 and the accuracy of each scheme.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["SCHEMES", "Scheme", "amplification", "cook_toom"]


@dataclass(frozen=True, eq=False)
class Scheme:
    """A way to filter a line: three float64 matrices and where its tiles lie.

    Attributes:
        name: its key in `SCHEMES`.
        output: (outputs, points).
        taps: (points, 3).
        input: (points, inputs).
        overlap: how many values before its first output a tile reads: 1, or 0 where a tile is a whole line.
    """

    name: str
    output: np.ndarray
    taps: np.ndarray
    input: np.ndarray
    overlap: int

    @property
    def outputs(self) -> int:
        """How many filtered values a tile gives."""
        return self.output.shape[0]

    @property
    def points(self) -> int:
        """How many products a tile takes."""
        return self.output.shape[1]

    @property
    def inputs(self) -> int:
        """How many values a tile reads."""
        return self.input.shape[1]

    def fits(self, longest: int) -> bool:
        """Whether lines of up to `longest` values can be filtered by it."""
        return self.overlap == 1 or longest <= self.outputs


def cook_toom(points: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices (output, taps, input) of F(n, 3) from n + 1 different points and the point at infinity.

    The tile and the taps are polynomials, whose product is known from its values at n + 2 points; the transposed of
    that is a filter (Lavin and Gray, section 4; Blahut, Fast Algorithms for Signal Processing, chapter 5). Rows of
    `input` are the monic polynomials that vanish at all other points, so their entries are exact in float32 for points
    that are short binary fractions.
    """
    finite = np.asarray(points, dtype=np.float64)
    count = len(finite) + 1
    outputs = count - 2
    output = np.zeros((outputs, count))
    taps = np.zeros((count, 3))
    input = np.zeros((count, count))
    for index, point in enumerate(finite):
        others = np.delete(finite, index)
        output[:, index] = point ** np.arange(outputs)
        taps[index] = point ** np.arange(3) / np.prod(point - others)
        input[index, :-1] = np.poly(others)[::-1]
    output[-1, -1] = 1
    taps[-1, -1] = 1
    input[-1] = np.poly(finite)[::-1]
    return output, taps, input


def amplification(scheme: Scheme) -> float:
    """How much larger the scheme's rounding errors are than the plain filter's, along one axis, in the mean.

    The ratio of variances for independent values and taps. It does not change when a point's rows are scaled. In two
    dimensions the factors of both axes multiply.
    """
    energy = (scheme.input**2).sum(1) * (scheme.taps**2).sum(1)
    plain = 3 if scheme.overlap else 3 - 2 / scheme.outputs
    return float((scheme.output**2 @ energy).mean() / plain)


def _tiled(name: str, points: Sequence[float]) -> Scheme:
    return Scheme(name, *cook_toom(points), overlap=1)


def _whole(name: str, output: list[list[float]], taps: list[list[float]], input: list[list[float]]) -> Scheme:
    return Scheme(name, *(np.array(matrix, dtype=np.float64) for matrix in (output, taps, input)), overlap=0)


# F4's points are oneDNN's (src/cpu/x64/jit_avx512_core_fp32_wino_conv_4x3_kernel.cpp): 5/8 and 3/2 amplify errors 4.8
# times, the usual 1 and 2 of Lavin and Gray 10.8 times, and the best 4.7 times. F6's are those of NNPACK and are within
# a thousandth of the best: 20.6 times.
SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        _whole("P1", [[1]], [[0, 1, 0]], [[1]]),
        # Karatsuba's trick on a 2x2 Toeplitz matrix.
        _whole("P2", [[1, 1, 0], [1, 0, 1]], [[0, 1, 0], [0, -1, 1], [1, -1, 0]], [[1, 1], [0, 1], [1, 0]]),
        _whole(
            "P3",
            [[2, 2, 2, 1], [3, -3, 1, -0.5], [2, 2, -2, -1]],
            [[1 / 12, 1 / 8, 1 / 12], [-1 / 12, 1 / 8, -1 / 12], [1 / 8, 1 / 16, -1 / 8], [-1 / 4, 1 / 8, 1 / 4]],
            [[1, 1.5, 1], [1, -1.5, 1], [2, -1, -2], [2, 1, -2]],
        ),
        _tiled("F4", (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)),
        _tiled("F6", (0, 1, -1, 2, -2, 1 / 2, -1 / 2)),
    )
}
