"""Writes LLVM instructions on vectors of float32: sums, matrices with known entries, loads and stores.

This module imports llvmlite, which comes with Numba.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

__all__ = ["FLOAT_BYTES", "LONG", "Builder", "Value", "Vectors", "number"]

FLOAT_BYTES = 4
LONG = ir.IntType(64)

_float = ir.FloatType()
_int = ir.IntType(32)

# llvmlite has no type hints; a value is the result of an instruction.
Value = Any
Builder = Any


def number(value: int) -> Value:
    """A 64-bit integer constant."""
    return ir.Constant(LONG, value)


class Vectors:
    """Writes operations on vectors of `width` floats at addresses."""

    def __init__(self, builder: Builder, width: int) -> None:
        self.builder = builder
        self.width = width
        self.type = ir.VectorType(_float, width)
        name = f"llvm.fmuladd.v{width}f32"
        function = builder.module.globals.get(name)
        self._multiply_add = function or ir.Function(builder.module, ir.FunctionType(self.type, [self.type] * 3), name)

    def constant(self, value: float) -> Value:
        """The number in all places."""
        return ir.Constant(self.type, [float(np.float32(value))] * self.width)

    def multiply_add(self, left: Value, right: Value, sum_: Value) -> Value:
        """The sum of left * right and sum_, in one instruction where the machine has it."""
        return self.builder.call(self._multiply_add, [left, right, sum_])

    def load(self, address: Value) -> Value:
        """The vector at an address (an integer)."""
        value = self.builder.load(self.builder.inttoptr(address, self.type.as_pointer()))
        value.align = FLOAT_BYTES
        return value

    def store(self, value: Value, address: Value) -> None:
        """Write a vector to an address (an integer)."""
        self.builder.store(value, self.builder.inttoptr(address, self.type.as_pointer())).align = FLOAT_BYTES

    def spread(self, address: Value) -> Value:
        """The float at `address` in all places."""
        scalar = self.builder.load(self.builder.inttoptr(address, _float.as_pointer()))
        scalar.align = FLOAT_BYTES
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_int, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_int, self.width), None))

    def weighted_sum(self, weights: Sequence[float], values: Sequence[Value]) -> Value:
        """The sum of weights[i] * values[i], without the zeros; terms with weight 1 and -1 first."""
        terms = sorted(((w, v) for w, v in zip(weights, values, strict=True) if w), key=lambda term: abs(term[0]) != 1)
        total: Value = None
        for weight, value in terms:
            if total is None:
                total = value if weight == 1 else self.builder.fmul(value, self.constant(weight))
            elif weight == 1:
                total = self.builder.fadd(total, value)
            elif weight == -1:
                total = self.builder.fsub(total, value)
            else:
                total = self.multiply_add(value, self.constant(weight), total)
        return self.constant(0) if total is None else total

    def product(self, matrix: np.ndarray, values: Sequence[Value]) -> list[Value]:
        """The values of matrix @ values, with shared parts for points p and -p.

        Columns that are equal but for signs become a sum and a difference, of which each row takes one. Rows that are
        equal but for signs are the sum and the difference of two partial sums.
        """
        matrix, values = self._pair_columns(matrix, list(values))
        results: list[Value] = [None] * len(matrix)
        for row in range(len(matrix)):
            if results[row] is not None:
                continue
            partner = next((r for r in range(row + 1, len(matrix)) if _twins(matrix[row], matrix[r])), None)
            if partner is None:
                results[row] = self.weighted_sum(matrix[row], values)
                continue
            same = self.weighted_sum((matrix[row] + matrix[partner]) / 2, values)
            other = self.weighted_sum((matrix[row] - matrix[partner]) / 2, values)
            results[row] = self.builder.fadd(same, other)
            results[partner] = self.builder.fsub(same, other)
        return results

    def _pair_columns(self, matrix: np.ndarray, values: list[Value]) -> tuple[np.ndarray, list[Value]]:
        matrix = matrix.astype(np.float64)
        left = 0
        while left < len(values) - 1:
            if _twins(matrix[:, left], matrix[:, left + 1]):
                first, second = matrix[:, left].copy(), matrix[:, left + 1].copy()
                sum_ = self.builder.fadd(values[left], values[left + 1])
                difference = self.builder.fsub(values[left], values[left + 1])
                values[left : left + 2] = [sum_, difference]
                matrix[:, left], matrix[:, left + 1] = (first + second) / 2, (first - second) / 2
                left += 1
            left += 1
        return matrix, values


def _twins(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two lines differ in signs only, and in some of them."""
    entries = np.count_nonzero(first)
    equal = np.array_equal(np.abs(first), np.abs(second))
    return bool(equal and entries > 2 and 0 < int(np.sum(first != second)) < entries)
