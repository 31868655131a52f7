"""Transposing a square of numbers in registers: rows become columns without a detour through memory.

First squares of four within 128 bits, which every instruction set shuffles fastest, then these squares as a whole.
"""

from collections.abc import Iterable

from l0compile.kernels.cpu.lanes import Expr, kept
from l0compile.kernels.tir import tirx

_SQUARE = 4


def transposed(rows: list[Expr]) -> list[Expr]:
    """The columns of as many registers of float32 as each has lanes, 1 or a power of two."""
    size = len(rows)
    if size == 1:
        return rows
    registers = [kept(row, size) for row in rows]
    square = min(_SQUARE, size)
    squares = [_square(registers[first : first + square]) for first in range(0, size, square)]
    found: dict[int, Expr] = {}
    for column, parts in enumerate(zip(*squares, strict=True)):
        found |= _columns(list(parts), column, square)
    return [found[column] for column in range(size)]


def _square(rows: list[Expr]) -> list[Expr]:
    """Of 2 or 4 rows: the c-th result holds, side by side for every square, its column c."""
    low, high = _interleaved(rows[0], rows[1], 1)
    if len(rows) == 2:
        return [low, high]
    lower, higher = _interleaved(rows[2], rows[3], 1)
    return [*_interleaved(low, lower, 2), *_interleaved(high, higher, 2)]


def _interleaved(a: Expr, b: Expr, width: int) -> tuple[Expr, Expr]:
    """Of each square the first half, and the second: ``width`` numbers of a, as many of b, and so on."""
    size = int(a.ty.dtype.lanes)
    square = min(_SQUARE, size)

    def lanes(half: int) -> Iterable[int]:
        for first in range(half, size, square):
            for start in range(first, first + square // 2, width):
                yield from range(start, start + width)
                yield from range(size + start, size + start + width)

    return _shuffled(a, b, lanes(0)), _shuffled(a, b, lanes(square // 2))


def _columns(registers: list[Expr], first: int, step: int) -> dict[int, Expr]:
    """Columns ``first``, ``first + step`` and so on, of which each register holds a part side by side."""
    if len(registers) == 1:
        return {first: registers[0]}
    size = int(registers[0].ty.dtype.lanes)

    def lanes(odd: int) -> Iterable[int]:
        return (
            lane
            for begin in range(odd * _SQUARE, 2 * size, 2 * _SQUARE)
            for lane in range(begin, begin + _SQUARE)
        )

    pairs = list(zip(registers[::2], registers[1::2], strict=True))
    even = _columns([_shuffled(a, b, lanes(0)) for a, b in pairs], first, 2 * step)
    return even | _columns([_shuffled(a, b, lanes(1)) for a, b in pairs], first + step, 2 * step)


def _shuffled(a: Expr, b: Expr, lanes: Iterable[int]) -> Expr:
    size = int(a.ty.dtype.lanes)
    return kept(tirx.Shuffle([a, b], [tirx.const(lane, "int32") for lane in lanes]), size)
