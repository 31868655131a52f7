"""Where the factors of a tile lie in global memory, as one thread copies them.

A thread copies the same chunk of rows that are ``step`` apart. What a pointer takes is computed once for a tile: each
then is a place in registers, plus what the stage adds, plus a constant.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.copies import CopySource, TileCopy
from l0compile.kernels.cuda.linear.stream import Stream
from l0compile.kernels.tir import TB

# More rows than a tile has.
_MANY = 1 << 16


class StageFactors(Protocol):
    """What the stages of a tile are filled with."""

    @property
    def stream(self) -> Stream:
        """The columns of k."""

    def sources(self, columns: Any, start: Expr) -> tuple[CopySource, ...]:
        """Of each tile of the stage that begins with column ``start`` of the stream, of x in ``columns``."""


@dataclass(frozen=True)
class Factors:
    """The factors of one tile.

    Attributes:
        stream: the columns of k.
        x_place: element of x where the thread's first token begins.
        x_rest: tokens from that one on; the rest of x.
        x_step: tokens between two of the thread.
        weight_place: element of the weight that is the thread's first of column 0.
        weight_rest: outputs from the first on of a dense layer, columns of the stream of a sparse one.
        weight_step: the same between two of the thread.
        column: the thread's first column in a stage of a dense layer.
    """

    stream: Stream
    x_place: Expr
    x_rest: Expr
    x_step: int
    weight_place: Expr
    weight_rest: Expr
    weight_step: int
    column: Expr

    def sources(self, columns: Any, start: Expr) -> tuple[CopySource, ...]:
        """Of x and of the weight, in the stage that begins with column ``start`` of the stream."""
        return (
            lambda turn, number: self.x(columns, turn, number),
            lambda turn, number: self.weight(start, turn, number),
        )

    def x(self, columns: Any, turn: int, number: int) -> tuple[Expr, Expr]:
        """(pointer, existence) of a number of token ``turn`` of the thread, in the chunk that ``columns`` tells of."""
        k, run, row = self.stream.spec.k, self.stream.run, turn * self.x_step
        column = columns[number // run] + number % run
        place = self.x_place + row * k + TB.cast(column, "int64")
        return pointer(self.stream.to.x, place), TB.And(self.x_rest > row, column < k)

    def weight(self, start: Expr, turn: int, number: int) -> tuple[Expr, Expr]:
        """The same of the weight, in the stage that begins with column ``start`` of the stream."""
        spec, row = self.stream.spec, turn * self.weight_step
        first = TB.cast(start, "int64")
        if spec.dense:
            live = TB.And(self.weight_rest > row, start + self.column + number < spec.k)
            return pointer(self.stream.to.weight, self.weight_place + first + (row * spec.k + number)), live
        place = self.weight_place + first * spec.rows + (row * spec.rows + number)
        return pointer(self.stream.to.weight, place), start + row < self.weight_rest


def factors(stream: Stream, token: Expr, output: Expr, x_copy: TileCopy, weight_copy: TileCopy) -> Factors:
    """Compute the places of the tile at (token, output)."""
    spec, row, column = stream.spec, weight_copy.row, weight_copy.chunk * weight_copy.numbers
    if spec.dense:
        place = TB.cast(output + row, "int64") * spec.k + column
        rest = spec.n - output - row
    else:  # the columns of all blocks of a block row lie one behind the other
        place = TB.cast(stream.start + row, "int64") * spec.rows + output % spec.rows + column
        rest = stream.length - row
    return _factors(stream, token, x_copy, (place, rest, weight_copy.step), column)


def chunk_factors(
    stream: Stream, token: Expr, output: Expr, x_copy: TileCopy, weight_copy: TileCopy
) -> Factors:
    """The same of a sparse weight whose blocks are chunks of k, one of each output side by side: [chunks, rows, 4].

    A tile of it has a row for each chunk of k, and in it a chunk for each output.
    """
    spec, each = stream.spec, weight_copy.numbers
    first = each * weight_copy.row
    place = TB.cast(stream.start + first, "int64") * spec.rows
    place = place + (output % spec.rows + weight_copy.chunk) * each
    return _factors(stream, token, x_copy, (place, stream.length - first, each * weight_copy.step), first)


def _factors(
    stream: Stream, token: Expr, x_copy: TileCopy, weight: tuple[Expr, Expr, int], column: Expr
) -> Factors:
    first = ptx.kept(TB.cast(token + x_copy.row, "int64"), "int64")
    x_rest = ptx.kept(TB.cast(TB.min(stream.to.tokens - first, _MANY), "int32"))
    place, rest, step = weight
    return Factors(
        stream, ptx.kept(first * stream.spec.k, "int64"), x_rest, x_copy.step, ptx.kept(place, "int64"),
        ptx.kept(rest), step, ptx.kept(column),
    )  # fmt: skip


def pointer(buffer: Any, place: Expr) -> Expr:
    """To an element by its number, as if the last axis held all of them."""
    return TB.address_of(buffer[(*[0] * (len(buffer.shape) - 1), place)])
