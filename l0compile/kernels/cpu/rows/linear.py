"""Linear layer that packs its tokens and unpacks its results (oracle: ``l0compile::rows_linear``).

A thread packs a tile of tokens, which then stays in its second cache, and multiplies it by a strip of rows of the
weight after the other; the results of a strip go from the first cache to rows. What it reads and writes in memory are
rows. Threads share the strips of all tiles by the work in them; a tile that two threads share is packed by both.
"""

from dataclasses import dataclass, replace
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, body, held, kernel, param, scratch, store, symbol
from l0compile.kernels.cpu.linear.blocks import LinearBuffers, Microkernel
from l0compile.kernels.cpu.linear.schedules import check_schedule, default_schedule
from l0compile.kernels.cpu.linear.shares import units
from l0compile.kernels.cpu.linear.spec import LinearSchedule
from l0compile.kernels.cpu.rows.spec import RowsLinearSpec
from l0compile.kernels.cpu.rows.square import Square
from l0compile.kernels.cpu.rows.strips import first_strip, strip_units, strips
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


def rows_linear(spec: RowsLinearSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, data[, indices, indptr][, bias], y); x and y in rows or packed, their number symbolic."""
    layer = spec.layer
    schedule = replace(default_schedule(layer, tile), tiles=1)
    check_schedule(layer, tile, schedule)
    with kernel("rows_linear") as builder:
        tokens, tiles, nnz = symbol("tokens"), symbol("tiles"), symbol("nnz")
        blocks = -(-layer.n // layer.rows)
        extents = {True: lambda features: (tokens, features), False: lambda features: (tiles, features, tile.lanes)}
        to = LinearBuffers(
            x=param("x", extents[spec.rows_in](layer.k)),
            data=param("data", (nnz, layer.cols, layer.rows)),
            indices=None if layer.dense else param("indices", (nnz,), "int32"),
            indptr=None if layer.dense else param("indptr", (blocks + 1,), "int32"),
            bias=param("bias", (layer.n,)) if layer.bias else None,
            residual=None,
            tokens=None,
            y=param("y", extents[spec.rows_out](layer.n)),
        )
        with body(), TB.parallel(0, tile.threads) as task:
            _Task(spec, tile, schedule, to, tokens).emit(task)
    return builder.get()


@dataclass(frozen=True)
class StripMicrokernel(Microkernel):
    """Results go to a strip, which begins at row ``start`` of the weight."""

    start: Expr = 0
    place: Expr = 0

    def _write_row(self, acc: list[Any], row: Expr, registers: list[Expr]) -> None:
        for register, lanes in zip(acc, registers, strict=True):
            store(self.to.y, self._result(register, row), self.place, row - self.start, lanes)


@dataclass(frozen=True)
class _Task:
    """The share of a thread."""

    spec: RowsLinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: LinearBuffers
    tokens: Expr

    def emit(self, task: Expr) -> None:
        layer, tile = self.spec.layer, self.tile
        all_strips = strips(layer, tile, self.schedule)
        packed = scratch((1, layer.k, tile.lanes))
        strip = scratch((2, tile.vector, tile.lanes))
        tiles = held((self.tokens + tile.lanes - 1) // tile.lanes)
        begin = held(first_strip(layer, tile, self.schedule, self.to, tiles, task, tile.threads))
        end = held(first_strip(layer, tile, self.schedule, self.to, tiles, task + 1, tile.threads))
        first = begin // all_strips
        with TB.serial(0, (end + all_strips - 1) // all_strips - first) as number:
            t = held(first + number)
            live = held(TB.min(self.tokens - t * tile.lanes, tile.lanes))
            self._pack(packed, t, live)
            low = held(TB.max(begin - t * all_strips, 0))
            high = held(TB.min(end - t * all_strips, all_strips))
            with TB.serial(0, high - low) as s:
                self._strip(packed, strip, t, live, held(low + s), low)
            with TB.If(high > low), TB.Then(), TB.serial(0, tile.vectors) as register:
                self._write(strip, t, live, high - 1, (high - 1) % 2, register)

    def _pack(self, packed: Any, t: Expr, live: Expr) -> None:
        layer, tile = self.spec.layer, self.tile
        size = tile.vector
        with TB.serial(0, (live + size - 1) // size) as register, TB.serial(0, -(-layer.k // size)) as chunk:
            lane, f = held(register * size), held(chunk * size)
            token = t * tile.lanes + lane
            Square(self.to.x, packed, size, token, f, layer.k, (0, f, lane), live - lane).pack()

    def _strip(self, packed: Any, strip: Any, t: Expr, live: Expr, s: Expr, low: Expr) -> None:
        """Compute a strip, and write that before it: stores then wait for memory behind multiplications."""
        layer, tile, schedule = self.spec.layer, self.tile, self.schedule
        size = tile.vector
        each, here = strip_units(tile, schedule), held(s % 2)
        to = replace(self.to, x=packed, y=strip)
        per = -(-tile.vectors // each)
        with TB.serial(0, each) as u:
            with TB.If(s * each + u < units(layer, schedule)), TB.Then():
                StripMicrokernel(layer, tile, schedule, to, 0, size, s * size, here).emit(s * each + u, 0)
            with TB.If(s > low), TB.Then(), TB.serial(0, per) as i:
                self._write(strip, t, live, s - 1, 1 - here, u * per + i)

    def _write(self, strip: Any, t: Expr, live: Expr, s: Expr, here: Expr, register: Expr) -> None:
        size, lane = self.tile.vector, register * self.tile.vector
        with TB.If(lane < live), TB.Then():
            token = t * self.tile.lanes + lane
            Square(
                self.to.y, strip, size, token, s * size, self.spec.layer.n, (here, 0, lane), live - lane
            ).unpack()
