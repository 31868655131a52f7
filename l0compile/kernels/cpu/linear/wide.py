"""A linear layer of 8-bit integers where a CPU multiplies only pairs of 16-bit ones: both operands, widened.

Tokens are widened once for all rows of a task, and the weights of some rows once for all tiles of tokens, into scratch
memory. What is left then is a linear layer of twice as many columns.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.dot import HALVES, multiplies_pairs, pair_sum, signed_halves, unsigned_halves
from l0compile.kernels.cpu.lanes import Expr, ahead, broadcast, kept, ramp, scratch, store
from l0compile.kernels.cpu.linear.blocks import Accumulators, LinearBuffers
from l0compile.kernels.cpu.linear.integers import IntegerMicrokernel
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


def widens(spec: LinearSpec, tile: TokenTile) -> bool:
    """Whether a layer is computed with widened operands."""
    return spec.numbers == "int8" and not spec.fits16 and multiplies_pairs(tile.vector, tile)


@dataclass(frozen=True)
class Widened:
    """The operands of a task in 16 bits.

    Attributes:
        tokens: [tiles of a task, k, 2, lanes] int32 words of two integers: the even and the odd bytes of each word.
        weights: [k, 2, rows] int32, those of the blocks of a unit of rows.
    """

    spec: LinearSpec
    tile: TokenTile
    schedule: LinearSchedule
    to: LinearBuffers
    tokens: Any
    weights: Any

    def fill_tokens(self, first: Expr, count: Expr) -> None:
        """Widen ``count`` tiles from ``first`` on."""
        width = self.tile.vector
        with TB.serial(0, count) as t, TB.serial(0, self.spec.k) as f:
            for v in range(self.tile.vectors):
                lanes = ramp(v * width, width)
                words = kept(self.to.x[first + t, f, lanes], width, "int32")
                for half, value in enumerate(unsigned_halves(words, width)):
                    store(self.tokens, value, t, f, half, lanes)

    def fill_weights(self, unit: Expr) -> None:
        """Widen the blocks of a unit of rows."""
        spec, rows = self.spec, self.schedule.rows
        groups = spec.rows // rows
        j, row = unit // groups, unit % groups * rows
        begin, count = self.to.stored(spec, j)
        later = max(1, self.tile.core.prefetch_bytes // (4 * spec.rows * spec.cols))
        with TB.serial(0, count) as i, TB.serial(0, spec.cols) as c:
            ahead(self.to.data, begin + i + later, c, row)
            words = kept(self.to.data[begin + i, c, ramp(row, rows)], rows, "int32")
            for half, value in enumerate(signed_halves(words, rows)):
                store(self.weights, value, i * spec.cols + c, half, ramp(0, rows))


def widened(spec: LinearSpec, tile: TokenTile, schedule: LinearSchedule, to: LinearBuffers) -> Widened:
    """Take scratch memory for the operands of a task."""
    columns = -(-spec.k // spec.cols) * spec.cols
    tokens = scratch((schedule.tiles, spec.k, HALVES, tile.lanes), "int32")
    weights = scratch((columns, HALVES, schedule.rows), "int32")
    return Widened(spec, tile, schedule, to, tokens, weights)


@dataclass(frozen=True)
class WideMicrokernel(IntegerMicrokernel):
    """Whole registers of the tile that is number ``place`` of its task."""

    operands: Widened
    place: Expr

    def _ask_for_block(self, begin: Expr, i: Expr, u: int) -> None:
        """Weights were read before."""

    def _add_column(
        self, begin: Expr, i: Expr, c: Expr, f: Expr, acc: Accumulators, row: Expr, registers: list[Expr]
    ) -> None:
        tokens, weights = self.operands.tokens, self.operands.weights
        for half in range(HALVES):
            for r in range(self.schedule.rows):
                weight = broadcast(weights[i * self.spec.cols + c, half, r], self.width)
                for register, lanes in zip(acc[r], registers, strict=True):
                    x = tokens[self.place, f, half, lanes]
                    self._set(register, pair_sum(self._get(register), x, weight, self.width, self.tile))
