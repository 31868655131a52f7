"""Linear layer, dense or block-sparse, tokens in lanes (oracle: ``l0compile::packed_linear``).

The rows of a tile of tokens are cut in shares of equal work, one per thread. The last tile may have few tokens: only
the registers that hold some are computed, half a register where that is enough, and a single token by a microkernel of
its own, with outputs in lanes.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, body, held, kernel, param, symbol
from l0compile.kernels.cpu.linear.blocks import LinearBuffers, Microkernel
from l0compile.kernels.cpu.linear.integers import IntegerMicrokernel
from l0compile.kernels.cpu.linear.one_token import one_token
from l0compile.kernels.cpu.linear.pairs import PairMicrokernel
from l0compile.kernels.cpu.linear.schedules import (
    check_schedule,
    default_schedule,
    half_register,
    one_register,
)
from l0compile.kernels.cpu.linear.shares import first_unit, units
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.linear.wide import WideMicrokernel, Widened, widened, widens
from l0compile.kernels.cpu.pair import with_pairs
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile

WORD_TYPES = {"float32": "float32", "bfloat16": "int32", "int8": "int32"}
"""What a column of the weight, and of the tokens, is held in."""

_MICROKERNELS = {"float32": Microkernel, "bfloat16": PairMicrokernel, "int8": IntegerMicrokernel}


def linear(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule | None = None) -> Any:
    """PrimFunc(x, data[, indices, indptr][, bias][, residual][, tokens], y); tiles and nnz are symbolic.

    Of narrow numbers PrimFunc(x, data[, indices, indptr][, start, scale][, bias][, residual][, inverse][, tokens], y),
    start and scale of 8-bit integers, inverse for results in them.

    Raises:
        ScheduleError: the schedule does not fit, see ``check_schedule``.
    """
    schedule = schedule or default_schedule(spec, tile)
    check_schedule(spec, tile, schedule)
    with kernel("linear") as builder:
        tiles, nnz, tokens = symbol("tiles"), symbol("nnz"), symbol("tokens")
        to = _buffers(spec, tile, tiles, nnz, tokens)
        shares = max(1, min(tile.threads, units(spec, schedule)))
        groups = (tiles + schedule.tiles - 1) // schedule.tiles
        pairs = with_pairs(tile) if spec.numbers == "bfloat16" else contextlib.nullcontext()
        with body(), pairs, TB.parallel(0, groups * shares) as task:
            by_rows = schedule.tiles > 1
            share = task // groups if by_rows else task % shares
            group = task % groups if by_rows else task // shares
            begin = first_unit(spec, schedule, to, share, shares)
            end = first_unit(spec, schedule, to, share + 1, shares)
            _Task(spec, tile, schedule, to, held(group * schedule.tiles), tiles, begin, end).emit(tokens)
    return builder.get()


def _buffers(spec: LinearSpec, tile: TokenTile, tiles: Expr, nnz: Expr, tokens: Expr) -> LinearBuffers:
    """Declare the parameters; this is their order."""
    integers, word, blocks = spec.numbers == "int8", WORD_TYPES[spec.numbers], -(-spec.n // spec.rows)
    form = spec.result
    rows, lanes = form.extents(spec.n, tile.lanes) if form else (spec.n, tile.lanes)
    return LinearBuffers(
        x=param("x", (tiles, spec.k, tile.lanes), word),
        data=param("data", (nnz, spec.cols, spec.rows), word),
        indices=None if spec.dense else param("indices", (nnz,), "int32"),
        indptr=None if spec.dense else param("indptr", (blocks + 1,), "int32"),
        start=param("start", (spec.n,), "int32") if integers else None,
        scale=param("scale", (spec.n,)) if integers else None,
        bias=param("bias", (spec.n,)) if spec.bias else None,
        residual=param("residual", (tiles, spec.n, tile.lanes)) if spec.residual else None,
        inverse=param("inverse", (spec.n,)) if form and form.numbers == "int8" else None,
        tokens=TB.arg("tokens", tokens) if spec.tail is None else None,
        y=param("y", (tiles, rows, lanes), "int32" if form else "float32"),
    )


@dataclass(frozen=True)
class _Task:
    """The units of rows from ``begin`` to ``end``, for ``schedule.tiles`` of the ``tiles``, from tile ``first`` on."""

    spec: LinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: LinearBuffers
    first: Expr
    tiles: Expr
    begin: Expr
    end: Expr

    @property
    def last(self) -> Expr:
        """The only tile that may have few tokens."""
        return self.tiles - 1

    def emit(self, tokens: Expr) -> None:
        tail, size = self.spec.tail, self.tile.lanes
        if tail == 0:
            self._whole(self.tiles)
        elif tail is not None:
            self._whole(self.last)
            self._if_last(lambda: self._known_tail(tail))
        else:
            # A tile whose registers all hold tokens is computed as if it were full.
            missing = (self.tile.vectors - 1) * self.tile.vector
            whole = held((TB.max(tokens - missing, 0) + size - 1) // size)
            self._whole(whole)
            with TB.If(whole < self.tiles), TB.Then():
                self._if_last(lambda: self._tail(tokens - self.last * size))

    def _if_last(self, then: Any) -> None:
        with TB.If(self.first + self.schedule.tiles >= self.tiles), TB.Then():
            then()

    def _known_tail(self, live: int) -> None:
        if live == 1 and self._takes_one_token:
            self._one_token()
        elif live <= half_register(self.tile):
            self._rows(self._one_register(), half_register(self.tile), 0)
        else:
            self._registers(-(-live // self.tile.vector))

    def _tail(self, live: Expr) -> None:
        """As ``_known_tail``, of fewer registers than a tile has."""

        def some() -> None:
            self._registers((live + self.tile.vector - 1) // self.tile.vector)

        def few() -> None:
            if half_register(self.tile):
                half = half_register(self.tile)
                _either(live <= half, lambda: self._rows(self._one_register(), half, 0), some)
            else:
                some()

        if self._takes_one_token:
            _either(live == 1, self._one_token, few)
        else:
            few()

    def _whole(self, whole: Expr) -> None:
        """The tiles of this task that are among the first ``whole``."""
        schedule, vector = self.schedule, self.tile.vector
        count = held(TB.max(TB.min(whole - self.first, schedule.tiles), 0))
        operands = self._widened(count)
        with (
            TB.serial(0, self.tile.vectors // schedule.vectors) as group,
            TB.serial(0, self.end - self.begin) as i,
        ):
            if operands is not None:
                operands.fill_weights(self.begin + i)
            # Innermost: a unit's weights are still in the first cache for the next tile.
            with TB.serial(0, count) as t:
                kernel = self._kernel(schedule, self.first + t, vector)
                if operands is not None:
                    kernel = WideMicrokernel(**vars(kernel), operands=operands, place=t)
                kernel.emit(self.begin + i, group * (schedule.vectors * vector))

    def _widened(self, count: Expr) -> Widened | None:
        """The first ``count`` tiles of this task, and room for weights; None where operands stay as they are."""
        if not widens(self.spec, self.tile):
            return None
        operands = widened(self.spec, self.tile, self.schedule, self.to)
        operands.fill_tokens(self.first, count)
        return operands

    def _registers(self, count: Expr) -> None:
        """The first ``count`` registers of tokens, one after the other."""
        with TB.serial(0, count) as register:
            self._rows(self._one_register(), self.tile.vector, register * self.tile.vector)

    def _one_register(self) -> LinearSchedule:
        return one_register(self.spec, self.tile, self.schedule.rows)

    def _rows(self, schedule: LinearSchedule, width: int, lane: Expr) -> None:
        # Loops start at zero: TVM 0.27 drops the start of a loop whose extent it proves to be small.
        with TB.serial(0, self.end - self.begin) as i:
            self._kernel(schedule, self.last, width).emit(self.begin + i, lane)

    def _kernel(self, schedule: LinearSchedule, t: Expr, width: int) -> Microkernel:
        return _MICROKERNELS[self.spec.numbers](self.spec, self.tile, schedule, self.to, t, width)

    @property
    def _takes_one_token(self) -> bool:
        """Words of two tokens are written by the microkernel of registers of tokens."""
        return self.spec.result is None or not self.spec.result.by_tokens

    def _one_token(self) -> None:
        one_token(self.spec, self.tile, self.schedule, self.to, self.last, self.begin, self.end)


def _either(condition: Expr, then: Any, otherwise: Any) -> None:
    with TB.If(condition):
        with TB.Then():
            then()
        with TB.Else():
            otherwise()
