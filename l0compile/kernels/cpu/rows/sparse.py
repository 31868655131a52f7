"""Block-sparse linear layer on rows (oracle: ``l0compile::rows_bsr_linear``).

A thread packs a tile of tokens, which then stays in its second cache, and multiplies it by one strip of the weight
after the other: as many of its rows as a register has lanes, whose results go from the first cache to rows. Threads
share the strips of all tiles by the work in them; a tile that two threads share is packed by both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, body, held, kernel, param, scratch, store, symbol
from l0compile.kernels.cpu.linear.blocks import LinearBuffers, Microkernel
from l0compile.kernels.cpu.linear.schedules import half_register, one_register
from l0compile.kernels.cpu.linear.shares import units
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.rows.spec import RowsBsrSpec
from l0compile.kernels.cpu.rows.square import Square
from l0compile.kernels.cpu.rows.strips import first_strip, strips
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


def rows_bsr_linear(spec: RowsBsrSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data, indices, indptr[, bias], y): x [M, k] -> y [M, n]; M and nnz are symbolic."""
    layer = spec.layer
    with kernel("rows_bsr_linear") as builder:
        tokens, nnz = symbol("tokens"), symbol("nnz")
        to = LinearBuffers(
            x=param("x", (tokens, layer.k)),
            data=param("data", (nnz, layer.cols, layer.rows)),
            indices=param("indices", (nnz,), "int32"),
            indptr=param("indptr", (-(-layer.n // layer.rows) + 1,), "int32"),
            bias=param("bias", (layer.n,)) if layer.bias else None,
            residual=None,
            tokens=None,
            y=param("y", (tokens, layer.n)),
        )
        with body(), TB.parallel(0, tile.threads) as task:
            # Rows of a unit divide those of a strip, which are a register of them.
            schedule = LinearSchedule(gcd(layer.rows, tile.rows, tile.vector), tile.vectors)
            _Task(spec, tile, schedule, to, tokens).emit(task)
    return builder.get()


@dataclass(frozen=True)
class _StripMicrokernel(Microkernel):
    """Results go to a strip, number ``place`` of the two, which begins at row ``start`` of the weight."""

    start: Expr = 0
    place: Expr = 0

    def _write_row(self, acc: list[Any], row: Expr, registers: list[Expr]) -> None:
        for register, lanes in zip(acc, registers, strict=True):
            store(self.to.y, self._result(register, row), self.place, row - self.start, lanes)


@dataclass(frozen=True)
class _Task:
    """The share of a thread."""

    spec: RowsBsrSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: LinearBuffers
    tokens: Expr

    @property
    def layer(self) -> LinearSpec:
        return self.spec.layer

    def emit(self, task: Expr) -> None:
        layer, tile = self.layer, self.tile
        packed, results = scratch((1, layer.k, tile.lanes)), scratch((2, tile.vector, tile.lanes))
        each, tiles = strips(layer, tile), held((self.tokens + tile.lanes - 1) // tile.lanes)
        begin, end = (held(first_strip(layer, tile, self.to, tiles, task + i, tile.threads)) for i in (0, 1))
        first = begin // each
        with TB.serial(0, (end + each - 1) // each - first) as number:
            t = held(first + number)
            live = held(TB.min(self.tokens - t * tile.lanes, tile.lanes))
            on = _OnTile(self, packed, results, held(t * tile.lanes), live)
            on.pack()
            low, high = held(TB.max(begin - t * each, 0)), held(TB.min(end - t * each, each))
            with TB.serial(0, high - low) as s:
                on.strip(held(low + s), low)
            with TB.serial(0, tile.vectors) as register:
                on.write(high - 1, (high - 1) % 2, register)


@dataclass(frozen=True)
class _OnTile:
    """A tile of the ``live`` tokens from ``token`` on, its packed form, and the results of two strips."""

    task: _Task
    packed: Any
    results: Any
    token: Expr
    live: Expr

    def pack(self) -> None:
        k, size = self.task.layer.k, self.task.tile.vector
        with TB.serial(0, (self.live + size - 1) // size) as register, TB.serial(0, -(-k // size)) as chunk:
            lane, f = held(register * size), held(chunk * size)
            place = 0, f, lane
            Square(self.task.to.x, self.packed, size, self.token + lane, f, k, place, self.live - lane).pack()

    def strip(self, s: Expr, low: Expr) -> None:
        """Compute a strip, and write the one before it between units: stores wait for memory behind the sums.

        Written at once, the rows of a strip, which lie far apart, took as long as a third of a sparse strip.
        """
        layer, tile, rows = self.task.layer, self.task.tile, self.task.schedule.rows
        each = tile.vector // rows
        registers = -(-tile.vectors // each)
        place = held(s % 2)
        with TB.serial(0, each) as u:
            unit = s * each + u
            _if(unit < units(layer, self.task.schedule), lambda: self._compute(s, place, unit))
            with TB.If(s > low), TB.Then(), TB.serial(0, registers) as i:
                self.write(s - 1, 1 - place, u * registers + i)

    def _compute(self, s: Expr, place: Expr, unit: Expr) -> None:
        """A unit of strip ``s``, by all registers of tokens at once, or, of a tile with fewer, one after the other."""
        task, size = self.task, self.task.tile.vector
        tail = None if task.spec.tokens is None else task.spec.tokens % task.tile.lanes
        to = replace(task.to, x=self.packed, y=self.results)

        def compute(schedule: LinearSchedule, width: int, lane: Expr) -> None:
            _StripMicrokernel(task.layer, task.tile, schedule, to, 0, width, s * size, place).emit(unit, lane)

        def whole() -> None:
            compute(task.schedule, size, 0)

        def part() -> None:
            one, half = one_register(task.layer, task.tile, task.schedule.rows), half_register(task.tile)
            if tail is not None and tail <= half:
                compute(one, half, 0)
                return
            with TB.serial(0, (self.live + size - 1) // size) as register:
                compute(one, size, register * size)

        # A tile whose registers all hold tokens is computed as if it were full.
        full = (task.tile.vectors - 1) * size
        if tail is not None and (tail == 0 or tail > full):
            whole()
        else:
            with TB.If(self.live > full):
                with TB.Then():
                    whole()
                with TB.Else():
                    part()

    def write(self, s: Expr, place: Expr, register: Expr) -> None:
        """The results of strip ``s``, in ``place``, for a register of tokens, if there are any."""
        n, size = self.task.layer.n, self.task.tile.vector
        lane = register * size
        token, live = self.token + lane, self.live - lane
        square = Square(self.task.to.y, self.results, size, token, s * size, n, (place, 0, lane), live)
        _if(lane < self.live, square.unpack)


def _if(condition: Expr, then: Callable[[], None]) -> None:
    with TB.If(condition), TB.Then():
        then()
