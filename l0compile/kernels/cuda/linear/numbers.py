"""Neighbouring numbers of a row in global memory, to and from float32 registers of one thread."""

from collections.abc import Callable
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.tensors import bytes_of, piece
from l0compile.kernels.tir import TB, tirx

RowPointer = Callable[[Expr], Expr]  # column -> pointer to an element


def row_of(buffer: Any, *row: Expr) -> RowPointer:
    """A row of a parameter that is a matrix, or a vector."""
    return lambda column: TB.address_of(buffer[(*row, TB.cast(column, "int64"))])


def load_numbers(values: Any, row: RowPointer, column: Expr, count: int, n: int, dtype: str) -> None:
    """``count`` numbers from ``column`` on, as many at once as rows of n allow; zeros from column n on."""
    each = piece(dtype, n)
    for first in range(0, count, each):
        for i in range(first, first + each):
            store(values, tirx.const(0.0, "float32"), i)
        with TB.If(column + first < n), TB.Then():
            _load(values, first, each, row(column + first), dtype)


def store_numbers(
    values: Any, row: RowPointer, column: Expr, count: int, n: int, dtype: str, pairs: bool
) -> None:
    """Round and write what ``load_numbers`` reads. pairs: there are instructions that round two."""
    each = piece(dtype, n)
    for first in range(0, count, each):
        with TB.If(column + first < n), TB.Then():
            _store(values, first, each, row(column + first), dtype, pairs)


def _load(values: Any, first: int, each: int, pointer: Expr, dtype: str) -> None:
    if dtype == "float32":
        ptx.load_global(ptx.at(values, first), pointer, each, "float32")
        return
    if each == 1:
        store(values, ptx.widened(ptx.load_global_16(pointer), dtype), first)
        return
    words = ptx.registers(each // 2)
    ptx.load_global(ptx.at(words), pointer, each // 2)
    for i in range(each // 2):
        store(
            values, ptx.widened(TB.bitwise_and(words[i], tirx.const(0xFFFF, "uint32")), dtype), first + 2 * i
        )
        store(
            values, ptx.widened(TB.shift_right(words[i], tirx.const(16, "uint32")), dtype), first + 2 * i + 1
        )


def _store(values: Any, first: int, each: int, pointer: Expr, dtype: str, pairs: bool) -> None:
    if each * bytes_of(dtype) == 2:
        ptx.store_global_16(pointer, ptx.rounded(values[first], dtype))
    elif dtype == "float32":
        ptx.store_global(pointer, ptx.at(values, first), each, "float32")
    else:
        words = ptx.registers(each // 2)
        for i in range(each // 2):
            store(words, _pair(values[first + 2 * i], values[first + 2 * i + 1], dtype, pairs), i)
        ptx.store_global(pointer, ptx.at(words), each // 2)


def _pair(low: Expr, high: Expr, dtype: str, pairs: bool) -> Expr:
    if pairs:
        return ptx.rounded_pair(low, high, dtype)
    upper = TB.shift_left(ptx.rounded(high, dtype), tirx.const(16, "uint32"))
    return TB.bitwise_or(ptx.rounded(low, dtype), upper)
