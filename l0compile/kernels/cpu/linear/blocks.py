"""The microkernel of a linear layer with tokens in lanes.

rows x vectors accumulators; for every stored block column, one vector load per register of tokens and one broadcast
weight per row. A block taller than the microkernel is walked in groups of ``schedule.rows`` rows, each a unit of work.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import (
    ACTIVATIONS,
    Expr,
    ahead,
    broadcast,
    held,
    ramp,
    scratch,
    store,
    variable,
)
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile, has_few_registers

# Block columns beyond this are looped, not unrolled: longer bodies inflate the code and start to spill (8 x 8 blocks,
# unrolled, ran at 0.96 of the speed of 4 x 4).
_UNROLL_COLS = 4

Accumulators = list[list[Any]]
"""For each row, the registers of its sums."""


@dataclass(frozen=True)
class LinearBuffers:
    """The buffers of a linear kernel, and its number of tokens; None where the kernel has no such argument."""

    x: Any
    data: Any
    indices: Any
    indptr: Any
    bias: Any
    residual: Any
    tokens: Any
    y: Any
    start: Any = None
    scale: Any = None
    inverse: Any = None

    def stored(self, spec: LinearSpec, j: Expr) -> tuple[Expr, Expr]:
        """(first block, number of blocks) of block row ``j``."""
        if self.indptr is None:
            return j * spec.k, spec.k
        return self.indptr[j], self.indptr[j + 1] - self.indptr[j]

    def column(self, spec: LinearSpec, begin: Expr, i: Expr) -> Expr:
        """First feature of the ``i``-th block of the block row that begins at ``begin``."""
        return i if self.indices is None else self.indices[begin + i] * spec.cols


def feature(spec: LinearSpec, column: Expr, c: Expr) -> Expr:
    """The feature that column ``c`` of a block reads.

    Columns past k (ragged last block) have zero weights; they read a live feature, as 0 * garbage may be NaN.
    """
    return column + c if spec.k % spec.cols == 0 else TB.min(column + c, spec.k - 1)


@dataclass(frozen=True)
class Microkernel:
    """Some registers, of ``width`` numbers each, of token tile ``t``."""

    spec: LinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: LinearBuffers
    t: Expr
    width: int

    def emit(self, unit: Expr, lane: Expr) -> None:
        """Compute a unit of rows for the tokens from ``lane`` on."""
        spec, schedule = self.spec, self.schedule
        groups = spec.rows // schedule.rows
        j, row = unit // groups, unit % groups * schedule.rows
        registers = self._registers(lane)
        sums = [self._accumulators() for _ in range(schedule.sums)]
        first = j * spec.rows + row
        self._start(sums, first)
        self._walk(j, sums, row, registers)
        self._finish(sums, first, registers)

    def _registers(self, lane: Expr) -> list[Expr]:
        """The lanes in the tile of each register of tokens."""
        return [ramp(lane + v * self.width, self.width) for v in range(self.schedule.vectors)]

    def _accumulators(self) -> Accumulators:
        """A register for each row and register of tokens.

        One buffer for all of them would lie on the heap, and only luck would turn it into registers.
        """
        schedule = self.schedule
        return [[self._variable() for _ in range(schedule.vectors)] for _ in range(schedule.rows)]

    def _variable(self) -> Any:
        return variable(self.width)

    def _get(self, register: Any) -> Expr:
        return register[ramp(0, self.width)]

    def _set(self, register: Any, value: Expr) -> None:
        store(register, value, ramp(0, self.width))

    def _start(self, sums: list[Accumulators], first: Expr) -> None:
        begin, zero = self._beginning()
        for r in range(self.schedule.rows):
            # Rows past n (ragged last block) start from some in-range number and are never stored.
            start = begin[TB.min(first + r, self.spec.n - 1)] if begin is not None else zero
            for number, acc in enumerate(sums):
                for register in acc[r]:
                    self._set(register, broadcast(zero if number else start, self.width))

    def _beginning(self) -> tuple[Any, Expr]:
        """What the sums of each row begin with, and what they begin with where there is no such number."""
        return self.to.bias, TB.float32(0)

    def _multiply_add(self, total: Expr, weight: Expr, x: Expr) -> Expr:
        return total + weight * x

    def _walk(self, j: Expr, sums: list[Accumulators], row: Expr, registers: list[Expr]) -> None:
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

    def _add(
        self, begin: Expr, i: Expr, u: int, sums: list[Accumulators], row: Expr, registers: list[Expr]
    ) -> None:
        """Add the block that is number ``i`` of its row and ``u`` of its turn."""
        spec = self.spec
        column = self.to.column(spec, begin, i)
        self._ask_for_block(begin, i, u)

        def add_column(c: Expr, acc: Accumulators) -> None:
            self._add_column(begin, i, c, feature(spec, column, c), acc, row, registers)

        if spec.cols <= _UNROLL_COLS:
            for c in range(spec.cols):
                add_column(c, sums[(u * spec.cols + c) % len(sums)])
        else:
            step = len(sums) if spec.cols % len(sums) == 0 else 1
            with TB.serial(0, spec.cols // step) as c:
                for number in range(step):
                    add_column(c * step + number, sums[number])

    def _later(self, begin: Expr, i: Expr) -> tuple[Expr, int]:
        """(the block to ask memory for now, its bytes).

        Processors guess what is read next, but not past the end of a page.
        """
        size = 4 * self.spec.rows * self.spec.cols
        return begin + i + max(1, self.tile.core.prefetch_bytes // size), size

    def _ask_for_block(self, begin: Expr, i: Expr, u: int) -> None:
        """Ask for a later block, once a line; of one that is longer than a line each column asks."""
        later, size = self._later(begin, i)
        if size <= self.tile.core.line_bytes and u * size % self.tile.core.line_bytes == 0:
            ahead(self.to.data, later, 0, 0)

    def _add_column(
        self, begin: Expr, i: Expr, c: Expr, f: Expr, acc: Accumulators, row: Expr, registers: list[Expr]
    ) -> None:
        """Add column ``c``, which reads feature ``f``, of block ``i``."""
        later, size = self._later(begin, i)
        if size > self.tile.core.line_bytes:
            ahead(self.to.data, later, c, row)
        for r in range(self.schedule.rows):
            for register, lanes in zip(acc[r], registers, strict=True):
                weight = broadcast(self.to.data[begin + i, c, row + r], self.width)
                x = self.to.x[self.t, f, lanes]
                self._set(register, self._multiply_add(self._get(register), weight, x))

    def _finish(self, sums: list[Accumulators], first: Expr, registers: list[Expr]) -> None:
        """Write the rows from ``first`` on."""
        if has_few_registers(self.tile):
            self._finish_from_memory(sums, first, registers)
            return
        for r in range(self.schedule.rows):
            acc = self._joined(sums, r)
            if self.spec.n % self.spec.rows == 0:
                self._write_row(acc, first + r, registers)
            else:
                with TB.If(first + r < self.spec.n), TB.Then():
                    self._write_row(acc, first + r, registers)

    def _finish_from_memory(self, sums: list[Accumulators], first: Expr, registers: list[Expr]) -> None:
        """As ``_finish``, with all sums put in memory first, and taken from there row by row.

        Otherwise all of them wait in registers for the activation of the first, which needs more than are left; LLVM
        then puts sums on the stack not only here, but in the loop that adds to them.
        """
        width, rows, count = self.width, self.schedule.rows, len(registers)
        memory = scratch((rows, count * width), sums[0][0][0].dtype)
        for r in range(rows):
            for v, register in enumerate(self._joined(sums, r)):
                store(memory, self._get(register), r, ramp(v * width, width))
        # As many turns as only the call knows: a loop of four would be unrolled, and memory become registers again.
        with TB.serial(0, held(TB.min(self.spec.n - first, rows))) as r:
            acc = [self._variable() for _ in range(count)]
            for v, register in enumerate(acc):
                self._set(register, memory[r, ramp(v * width, width)])
            self._write_row(acc, first + r, registers)

    def _joined(self, sums: list[Accumulators], r: int) -> list[Any]:
        """The sums of a row, of all sets of accumulators."""
        for v, register in enumerate(sums[0][r]):
            for acc in sums[1:]:
                self._set(register, self._get(register) + self._get(acc[r][v]))
        return sums[0][r]

    def _write_row(self, acc: list[Any], row: Expr, registers: list[Expr]) -> None:
        for register, lanes in zip(acc, registers, strict=True):
            value = self._result(register, row)
            residual = self.to.residual
            value = value if residual is None else value + residual[self.t, row, lanes]
            store(self.to.y, value, self.t, row, lanes)
        self._fill(row, TB.float32(0))

    def _result(self, register: Any, row: Expr) -> Expr:
        return ACTIVATIONS[self.spec.activation](self._get(register))

    def _fill(self, row: Expr, zero: Expr) -> None:
        """The register that holds the last token is whole for whoever reads it."""
        rest = self.tile.vector - self.width
        if rest > 0:
            store(self.to.y, broadcast(zero, rest), self.t, row, ramp(self.width, rest))
