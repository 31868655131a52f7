"""Linear layer, dense or block-sparse, tokens in lanes (oracle: ``l0compile::packed_linear``).

Microkernel: rows x vectors accumulators; for every stored block column, one vector load per register of tokens and one
broadcast weight per row. A block taller than the microkernel is walked in groups of ``schedule.rows`` rows, a tile of
more registers in groups of ``schedule.vectors``.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

from l0compile._tvm import TB
from l0compile.errors import ScheduleError
from l0compile.kernels.lanes import ACTIVATIONS, Expr, body, kernel, local, param, splat, store, symbol
from l0compile.kernels.spec import LinearSchedule, LinearSpec, TokenTile

# Block columns beyond this are looped, not unrolled: longer bodies only inflate the code and start to spill.
_UNROLL_COLS = 8


def default_schedule(spec: LinearSpec, tile: TokenTile) -> LinearSchedule:
    """All registers of a tile at once and as many rows as fit beside them; always legal."""
    rows = spec.rows if spec.rows <= tile.rows else gcd(spec.rows, tile.rows)
    return LinearSchedule(rows, tile.vectors)


def check_schedule(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule) -> None:
    """Raise ScheduleError unless the schedule cuts blocks and tiles evenly and its accumulators, the tokens of one
    column and a weight fit the registers together."""
    if min(schedule.rows, schedule.vectors, schedule.unroll, schedule.sums) < 1:
        raise ScheduleError(f"{schedule}: expected numbers of at least 1")
    if spec.rows % schedule.rows or tile.vectors % schedule.vectors or schedule.unroll % schedule.sums:
        raise ScheduleError(
            f"{schedule}: expected rows dividing {spec.rows} (block rows), vectors dividing {tile.vectors} (of a tile) "
            "and sums dividing unroll"
        )
    needed = schedule.sums * schedule.rows * schedule.vectors + schedule.vectors + 1
    if needed > tile.registers:
        raise ScheduleError(
            f"{schedule}: expected sums * rows * vectors + vectors + 1 of at most {tile.registers} registers, "
            f"got {needed}; take fewer rows, vectors or sums"
        )


@dataclass(frozen=True)
class _Operands:
    x: Any
    data: Any
    indices: Any
    indptr: Any
    bias: Any
    residual: Any
    y: Any


def linear(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule) -> Any:
    """PrimFunc(x, data[, indices, indptr][, bias][, residual], y); tiles and nnz are symbolic.

    Raises: ScheduleError as ``check_schedule``.
    """
    check_schedule(spec, tile, schedule)
    blocks = -(-spec.n // spec.rows)
    with kernel("linear") as builder:
        tiles, nnz = symbol("tiles"), symbol("nnz")
        to = _Operands(
            x=param("x", (tiles, spec.k, tile.lanes)),
            data=param("data", (nnz, spec.cols, spec.rows)),
            indices=None if spec.dense else param("indices", (nnz,), "int32"),
            indptr=None if spec.dense else param("indptr", (blocks + 1,), "int32"),
            bias=param("bias", (spec.n,)) if spec.bias else None,
            residual=param("residual", (tiles, spec.n, tile.lanes)) if spec.residual else None,
            y=param("y", (tiles, spec.n, tile.lanes)),
        )
        # A tile's rows are cut in one chunk per thread, so that one tile (or an odd number) still fills all of them.
        chunks = max(1, min(tile.threads, blocks))
        per_chunk = -(-blocks // chunks)
        with body(), TB.parallel(0, tiles * chunks) as task:
            t, chunk = task // chunks, task % chunks
            # Loops start at zero: TVM 0.27 drops the start of a loop whose extent it proves to be small.
            with TB.serial(0, TB.min(per_chunk, blocks - chunk * per_chunk)) as i:
                _Block(spec, tile, schedule, to, t, chunk * per_chunk + i).emit()
    return builder.get()


@dataclass(frozen=True)
class _Block:
    """Block row ``j`` at token tile ``t``."""

    spec: LinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: _Operands
    t: Expr
    j: Expr

    def emit(self) -> None:
        row_groups = self.spec.rows // self.schedule.rows
        token_groups = self.tile.vectors // self.schedule.vectors
        with _loop(token_groups) as tokens, _loop(row_groups) as group:
            lane = tokens * self.schedule.vectors * self.tile.vector
            self._microkernel(group * self.schedule.rows, lane)

    def _vectors(self, lane: Expr) -> list[tuple[Expr, Expr]]:
        """Each register of tokens: its lanes among the accumulators, and in the tile."""
        width = self.tile.vector
        starts = [v * width for v in range(self.schedule.vectors)]
        return [(TB.Ramp(start, 1, width), TB.Ramp(lane + start, 1, width)) for start in starts]

    def _microkernel(self, row: Expr, lane: Expr) -> None:
        spec, schedule, to = self.spec, self.schedule, self.to
        registers = self._vectors(lane)
        sums = [local((schedule.rows, schedule.vectors * self.tile.vector)) for _ in range(schedule.sums)]
        first = self.j * spec.rows + row
        for r in range(schedule.rows):
            # Rows past n (ragged last block) start from some in-range bias and are never stored.
            start = to.bias[TB.min(first + r, spec.n - 1)] if to.bias is not None else TB.float32(0)
            for s, _ in registers:
                for number, acc in enumerate(sums):
                    store(acc, splat(TB.float32(0) if number else start, self.tile), r, s)
        begin = to.indptr[self.j] if to.indptr is not None else self.j * spec.k
        end = to.indptr[self.j + 1] if to.indptr is not None else (self.j + 1) * spec.k
        self._walk(begin, end - begin, sums, row, registers)
        for r in range(schedule.rows):
            for s, _ in registers:
                for acc in sums[1:]:
                    store(sums[0], sums[0][r, s] + acc[r, s], r, s)
            self._finish(sums[0], r, first + r, registers)

    def _walk(self, begin: Expr, count: Expr, sums: list[Any], row: Expr, registers: list[Any]) -> None:
        """Add the ``count`` blocks from ``begin`` on."""
        unroll = self.schedule.unroll
        turns = count // unroll if unroll > 1 else count
        with TB.serial(0, turns) as turn:
            for u in range(unroll):
                self._add(begin, turn * unroll + u, sums[u % len(sums)], row, registers)
        if unroll > 1:
            with TB.serial(0, count - turns * unroll) as rest:
                self._add(begin, turns * unroll + rest, sums[0], row, registers)

    def _add(self, begin: Expr, i: Expr, acc: Any, row: Expr, registers: list[Any]) -> None:
        """Add the block that is number ``i`` of its row."""
        spec, to, p = self.spec, self.to, begin + i
        column = (to.indices[p] if to.indices is not None else i) * spec.cols

        def add_column(c: Expr) -> None:
            # Columns past k (ragged last block) have zero weights; they read a live feature, as 0 * garbage may be NaN.
            feature = column + c if spec.k % spec.cols == 0 else TB.min(column + c, spec.k - 1)
            for r in range(self.schedule.rows):
                for s, lanes in registers:
                    weight = splat(to.data[p, c, row + r], self.tile)
                    store(acc, acc[r, s] + weight * to.x[self.t, feature, lanes], r, s)

        if spec.cols <= _UNROLL_COLS:
            for c in range(spec.cols):
                add_column(c)
        else:
            with TB.serial(0, spec.cols) as c:
                add_column(c)

    def _finish(self, acc: Any, r: int, row: Expr, registers: list[Any]) -> None:
        spec, to = self.spec, self.to

        def write() -> None:
            for s, lanes in registers:
                value = ACTIVATIONS[spec.activation](acc[r, s])
                value = value if to.residual is None else value + to.residual[self.t, row, lanes]
                store(to.y, value, self.t, row, lanes)

        if spec.n % spec.rows == 0:
            write()
        else:
            with TB.If(row < spec.n), TB.Then():
                write()


def _loop(turns: int) -> Any:
    return TB.serial(0, turns) if turns > 1 else _Once()


class _Once:
    """A loop of one turn that leaves no loop in the IR."""

    def __enter__(self) -> int:
        return 0

    def __exit__(self, *_: object) -> None:
        return None
