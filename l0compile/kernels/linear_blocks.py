"""The microkernel of a linear layer with tokens in lanes.

rows x vectors accumulators; for every stored block column, one vector load per register of tokens and one broadcast
weight per row. A block taller than the microkernel is walked in groups of ``schedule.rows`` rows, each a unit of work.
"""

from dataclasses import dataclass
from typing import Any

from l0compile._tvm import TB
from l0compile.kernels.lanes import ACTIVATIONS, Expr, broadcast, local, ramp, store
from l0compile.kernels.spec import LinearSchedule, LinearSpec, TokenTile

# Block columns beyond this are looped, not unrolled: longer bodies inflate the code and start to spill (8 x 8 blocks,
# unrolled, ran at 0.96 of the speed of 4 x 4).
_UNROLL_COLS = 4


@dataclass(frozen=True)
class Operands:
    """The buffers of a linear kernel, and its number of tokens; None where the kernel has no such argument."""

    x: Any
    data: Any
    indices: Any
    indptr: Any
    bias: Any
    residual: Any
    tokens: Any
    y: Any

    def stored(self, spec: LinearSpec, j: Expr) -> tuple[Expr, Expr]:
        """(first block, number of blocks) of block row ``j``."""
        if self.indptr is None:
            return j * spec.k, spec.k
        return self.indptr[j], self.indptr[j + 1] - self.indptr[j]

    def column(self, spec: LinearSpec, begin: Expr, i: Expr) -> Expr:
        """First feature of the ``i``-th block of the block row that begins at ``begin``."""
        return i if self.indices is None else self.indices[begin + i] * spec.cols


def feature(spec: LinearSpec, column: Expr, c: Expr) -> Expr:
    """The feature that column ``c`` of a block reads. Columns past k (ragged last block) have zero weights; they read a
    live feature, as 0 * garbage may be NaN."""
    return column + c if spec.k % spec.cols == 0 else TB.min(column + c, spec.k - 1)


@dataclass(frozen=True)
class Microkernel:
    """Some registers, of ``width`` numbers each, of token tile ``t``."""

    spec: LinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: Operands
    t: Expr
    width: int

    def emit(self, unit: Expr, lane: Expr) -> None:
        """Compute a unit of rows for the tokens from ``lane`` on."""
        spec, schedule = self.spec, self.schedule
        groups = spec.rows // schedule.rows
        j, row = unit // groups, unit % groups * schedule.rows
        registers = self._registers(lane)
        sums = [local((schedule.rows, schedule.vectors * self.width)) for _ in range(schedule.sums)]
        first = j * spec.rows + row
        self._start(sums, first, registers)
        self._walk(j, sums, row, registers)
        for r in range(schedule.rows):
            for s, _ in registers:
                for acc in sums[1:]:
                    store(sums[0], sums[0][r, s] + acc[r, s], r, s)
            self._finish(sums[0], r, first + r, registers)

    def _registers(self, lane: Expr) -> list[tuple[Expr, Expr]]:
        """Each register of tokens: its lanes among the accumulators, and in the tile."""
        starts = [v * self.width for v in range(self.schedule.vectors)]
        return [(ramp(start, self.width), ramp(lane + start, self.width)) for start in starts]

    def _start(self, sums: list[Any], first: Expr, registers: list[Any]) -> None:
        bias = self.to.bias
        for r in range(self.schedule.rows):
            # Rows past n (ragged last block) start from some in-range bias and are never stored.
            start = bias[TB.min(first + r, self.spec.n - 1)] if bias is not None else TB.float32(0)
            for s, _ in registers:
                for number, acc in enumerate(sums):
                    store(acc, broadcast(TB.float32(0) if number else start, self.width), r, s)

    def _walk(self, j: Expr, sums: list[Any], row: Expr, registers: list[Any]) -> None:
        """Add the blocks of block row ``j``."""
        unroll = self.schedule.unroll
        begin, count = self.to.stored(self.spec, j)
        turns = count // unroll if unroll > 1 else count
        with TB.serial(0, turns) as turn:
            for u in range(unroll):
                self._add(begin, turn * unroll + u, u, sums, row, registers)
        if unroll > 1:
            with TB.serial(0, count - turns * unroll) as rest:
                self._add(begin, turns * unroll + rest, 0, sums, row, registers)

    def _add(self, begin: Expr, i: Expr, u: int, sums: list[Any], row: Expr, registers: list[Any]) -> None:
        """Add the block that is number ``i`` of its row and ``u`` of its turn."""
        spec, to = self.spec, self.to
        column = to.column(spec, begin, i)

        def add_column(c: Expr, acc: Any) -> None:
            for r in range(self.schedule.rows):
                for s, lanes in registers:
                    weight = broadcast(to.data[begin + i, c, row + r], self.width)
                    store(acc, acc[r, s] + weight * to.x[self.t, feature(spec, column, c), lanes], r, s)

        if spec.cols <= _UNROLL_COLS:
            for c in range(spec.cols):
                add_column(c, sums[(u * spec.cols + c) % len(sums)])
        else:
            step = len(sums) if spec.cols % len(sums) == 0 else 1
            with TB.serial(0, spec.cols // step) as c:
                for number in range(step):
                    add_column(c * step + number, sums[number])

    def _finish(self, acc: Any, r: int, row: Expr, registers: list[Any]) -> None:
        spec, to = self.spec, self.to

        def write() -> None:
            for s, lanes in registers:
                value = ACTIVATIONS[spec.activation](acc[r, s])
                value = value if to.residual is None else value + to.residual[self.t, row, lanes]
                store(to.y, value, self.t, row, lanes)
            if self.width < self.tile.vector:
                # The register that holds the last token is whole for whoever reads it.
                rest = self.tile.vector - self.width
                zero = broadcast(TB.float32(0), rest)
                store(to.y, zero, self.t, row, ramp(self.width, rest))

        if spec.n % spec.rows == 0:
            write()
        else:
            with TB.If(row < spec.n), TB.Then():
                write()
