"""LLVM code for the inner parts of the kernels: what Numba would not keep in vector registers by itself.

Each function here is a Numba intrinsic: Python code that writes LLVM instructions into the kernel that calls it. Numbers
that shape the code (`rows`, `width`, a scheme's name) are literals of the calling kernel; addresses are integers.

This module imports Numba.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from atrous.polyphase.transforms import SCHEMES
from atrous.polyphase.vectors import FLOAT_BYTES, LONG, Builder, Value, Vectors, number

__all__ = ["CHANNELS", "add_one", "call", "filter_inputs", "filter_outputs", "look", "multiply", "pointer", "stack"]

# Channels lie in blocks of 16 floats: a cache line, and one AVX-512 register.
CHANNELS = 16

intrinsic: Any = numba_intrinsic  # its type hints know neither the context nor the literals
Intrinsic = tuple[Any, Callable[..., Value]]


def _literals(*arguments: Any) -> bool:
    return all(isinstance(argument, types.Literal) for argument in arguments)


@intrinsic
def add_one(context: Any, counter: Any) -> Intrinsic:
    """The 64-bit integer at address `counter`, which grows by one for all threads, with all that was written before."""
    signature = types.intp(types.intp)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        counter = builder.inttoptr(arguments[0], LONG.as_pointer())
        return builder.atomic_rmw("add", counter, number(1), "acq_rel")

    return signature, generate


@intrinsic
def look(context: Any, counter: Any) -> Intrinsic:
    """The 64-bit integer at address `counter`, with all that other threads wrote before they changed it."""
    signature = types.intp(types.intp)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        return builder.load_atomic(builder.inttoptr(arguments[0], LONG.as_pointer()), "acquire", 8)

    return signature, generate


@intrinsic
def call(context: Any, function: Any, argument: Any) -> Intrinsic:
    """Call the C function at address `function` with one integer."""
    signature = types.void(types.intp, types.intp)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        kind = ir.FunctionType(ir.VoidType(), [LONG])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [arguments[1]])
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def stack(context: Any, words: Any) -> Intrinsic | None:
    """The address of `words` 64-bit words on the stack of the calling kernel."""
    if not _literals(words):
        return None
    signature = types.voidptr(words)
    count = words.literal_value

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        place = cgutils.alloca_once(builder, ir.ArrayType(LONG, count))
        return builder.bitcast(place, cgutils.voidptr_t)

    return signature, generate


@intrinsic
def pointer(context: Any, address: Any) -> Intrinsic:
    """The integer `address` as a pointer, for `numba.carray`."""

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@intrinsic
def filter_inputs(
    context: Any, scheme_y: Any, scheme_x: Any, width: Any, table: Any, offset: Any, target: Any, stride: Any
) -> Intrinsic | None:
    """Transform one tile of `width` channels.

    `table`: addresses of the tile's inputs, row by row; `offset`: bytes to add to each. Results go to
    `target + point * stride`.
    """
    if not _literals(scheme_y, scheme_x, width):
        return None
    matrix_y, matrix_x = (SCHEMES[name.literal_value].input for name in (scheme_y, scheme_x))
    signature = types.void(scheme_y, scheme_x, width, types.voidptr, types.intp, types.intp, types.intp)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        _, _, _, table, offset, target, stride = arguments
        vectors = Vectors(builder, width.literal_value)
        addresses = builder.bitcast(table, LONG.as_pointer())
        rows, columns = matrix_y.shape[1], matrix_x.shape[1]
        half = []
        for column in range(columns):
            values = []
            for row in range(rows):
                base = builder.load(builder.gep(addresses, [number(row * columns + column)]))
                values.append(vectors.load(builder.add(base, offset)))
            half.append(vectors.product(matrix_y, values))
        for row in range(matrix_y.shape[0]):
            for column, value in enumerate(vectors.product(matrix_x, [values[row] for values in half])):
                point = row * matrix_x.shape[0] + column
                vectors.store(value, builder.add(target, builder.mul(stride, number(point))))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def filter_outputs(
    context: Any,
    scheme_y: Any,
    scheme_x: Any,
    width: Any,
    source: Any,
    stride: Any,
    bias: Any,
    lowest: Any,
    table: Any,
    offset: Any,
) -> Intrinsic | None:
    """Transform `width` channels of one tile's products, at `source + point * stride`, into filtered values.

    The vector at `bias` is added, and values below the vector at `lowest` become it. `table`: addresses of the tile's
    outputs, row by row; `offset`: bytes to add to each.
    """
    if not _literals(scheme_y, scheme_x, width):
        return None
    matrix_y, matrix_x = (SCHEMES[name.literal_value].output for name in (scheme_y, scheme_x))
    address = types.intp
    signature = types.void(scheme_y, scheme_x, width, address, address, address, address, types.voidptr, address)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        _, _, _, source, stride, bias, lowest, table, offset = arguments
        vectors = Vectors(builder, width.literal_value)
        addresses = builder.bitcast(table, LONG.as_pointer())
        half = []
        columns = matrix_x.shape[1]
        for column in range(columns):
            points = [number(row * columns + column) for row in range(matrix_y.shape[1])]
            values = [vectors.load(builder.add(source, builder.mul(stride, point))) for point in points]
            half.append(vectors.product(matrix_y, values))
        shift, least = vectors.load(bias), vectors.load(lowest)
        for row in range(matrix_y.shape[0]):
            for column, value in enumerate(vectors.product(matrix_x, [values[row] for values in half])):
                value = builder.fadd(value, shift)
                # Written so that a NaN stays one, as in torch.relu.
                value = builder.select(builder.fcmp_ordered("<", value, least), least, value)
                base = builder.load(builder.gep(addresses, [number(row * matrix_x.shape[0] + column)]))
                vectors.store(value, builder.add(base, offset))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def multiply(
    context: Any,
    rows: Any,
    columns: Any,
    width: Any,
    left: Any,
    right: Any,
    target: Any,
    stride: Any,
    blocks: Any,
    fresh: Any,
) -> Intrinsic | None:
    """A block of a matrix product, `rows` by `columns`, which stays in registers: target = left @ right.

    `left` (blocks, rows, 16), `right` (blocks, 16, columns), `target` (rows, columns) with rows `stride` bytes apart.
    `fresh` 0 adds to what is there.
    """
    if not _literals(rows, columns, width):
        return None
    shape = (rows.literal_value, columns.literal_value // width.literal_value)
    address = types.intp
    signature = types.void(rows, columns, width, address, address, address, address, address, address)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Sequence[Value]) -> Value:
        _, _, _, left, right, target, stride, blocks, fresh = arguments
        vectors = Vectors(builder, width.literal_value)
        bytes_ = vectors.width * FLOAT_BYTES
        lines = [builder.add(target, builder.mul(stride, number(row))) for row in range(shape[0])]
        places = [builder.add(line, number(column * bytes_)) for line in lines for column in range(shape[1])]
        sums = _sums(vectors, shape, left, right, blocks)
        computed = builder.block
        old, end = (builder.append_basic_block(name) for name in ("old", "end"))
        builder.cbranch(builder.icmp_signed("==", fresh, number(0)), old, end)
        builder.position_at_end(old)
        totals = [builder.fadd(sum_, vectors.load(place)) for sum_, place in zip(sums, places, strict=True)]
        builder.branch(end)
        builder.position_at_end(end)
        results = [builder.phi(vectors.type) for _ in places]
        for result, sum_, total in zip(results, sums, totals, strict=True):
            result.add_incoming(sum_, computed)
            result.add_incoming(total, old)
        for result, place in zip(results, places, strict=True):
            vectors.store(result, place)
        return context.get_dummy_value()

    return signature, generate


def _sums(vectors: Vectors, shape: tuple[int, int], left: Value, right: Value, blocks: Value) -> list[Value]:
    """The block's sums of products, in a loop over blocks of channels; instructions go on after it."""
    builder = vectors.builder
    entry = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    step, left_now, right_now = (builder.phi(LONG) for _ in range(3))
    sums = [builder.phi(vectors.type) for _ in range(shape[0] * shape[1])]
    starts = [number(0), left, right, *(vectors.constant(0) for _ in sums)]
    for phi, start in zip((step, left_now, right_now, *sums), starts, strict=True):
        phi.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", step, blocks), body, done)

    builder.position_at_end(body)
    left_bytes = shape[0] * CHANNELS * FLOAT_BYTES
    right_bytes = shape[1] * vectors.width * CHANNELS * FLOAT_BYTES
    new = [
        builder.add(step, number(1)),
        builder.add(left_now, number(left_bytes)),
        builder.add(right_now, number(right_bytes)),
        *_block_product(vectors, shape, sums, left_now, right_now),
    ]
    for phi, value in zip((step, left_now, right_now, *sums), new, strict=True):
        phi.add_incoming(value, body)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


def _block_product(
    vectors: Vectors, shape: tuple[int, int], sums: Sequence[Value], left: Value, right: Value
) -> list[Value]:
    """Add the products of 16 channels, written out: offsets are then part of the instructions."""
    builder = vectors.builder
    bytes_ = vectors.width * FLOAT_BYTES
    sums = list(sums)
    for channel in range(CHANNELS):
        values = [
            vectors.load(builder.add(right, number((channel * shape[1] + column) * bytes_)))
            for column in range(shape[1])
        ]
        for row in range(shape[0]):
            factor = vectors.spread(builder.add(left, number((row * CHANNELS + channel) * FLOAT_BYTES)))
            for column, value in enumerate(values):
                place = row * shape[1] + column
                sums[place] = vectors.multiply_add(factor, value, sums[place])
    return sums
