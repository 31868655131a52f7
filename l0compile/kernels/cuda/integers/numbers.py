"""Whole numbers of a row in global memory, and four numbers as one word."""

from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.numbers import RowPointer
from l0compile.kernels.cuda.linear.tensors import piece
from l0compile.kernels.tir import TB, tirx


def load_integers(values: Any, row: RowPointer, column: Expr, count: int, n: int) -> None:
    """``count`` int32 from ``column`` on, as many at once as rows of n allow; zeros from column n on."""
    each = piece("int32", n)
    for first in range(0, count, each):
        for i in range(first, first + each):
            store(values, tirx.const(0, "int32"), i)
        with TB.If(column + first < n), TB.Then():
            ptx.load_global(ptx.at(values, first), row(column + first), each, "int32")


def store_integers(values: Any, row: RowPointer, column: Expr, count: int, n: int) -> None:
    """Write what ``load_integers`` reads."""
    each = piece("int32", n)
    for first in range(0, count, each):
        with TB.If(column + first < n), TB.Then():
            ptx.store_global(row(column + first), ptx.at(values, first), each, "int32")


def word_of(values: Any, inverse: Any, count: int, zero_point: int) -> Any:
    """A register with the levels of ``count`` (1 to 4) float32 registers as bytes, the first lowest; the rest 0."""
    word = ptx.registers(1)
    for i in range(count):
        level = ptx.level(values[i], inverse[i], zero_point)
        shifted = TB.shift_left(level, tirx.const(8 * i, "uint32")) if i else level
        store(word, TB.bitwise_or(word[0], shifted) if i else shifted, 0)
    return word
