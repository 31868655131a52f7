"""Where the factors of a tile lie in global memory: tokens, what is kept of the weight, and its places."""

from dataclasses import dataclass
from typing import Any

from l0compile.ir.ops.two_of_four import COLUMNS, ROWS
from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.copies import CopySource, TileCopy
from l0compile.kernels.cuda.linear.factors import Factors, pointer
from l0compile.kernels.cuda.linear.stream import Stream
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec
from l0compile.kernels.cuda.two_of_four.tensors import TwoOfFourTensors
from l0compile.kernels.tir import TB, tirx


@dataclass(frozen=True)
class TwoOfFourFactors:
    """The factors of one tile.

    Attributes:
        spec, to: what is computed.
        dense: those of the dense layer, of which the tokens are read.
        output: the tile's first output.
        kept: how threads copy what is kept.
        places: how they copy places.
    """

    spec: CudaTwoOfFourSpec
    to: TwoOfFourTensors
    dense: Factors
    output: Expr
    kept: TileCopy
    places: TileCopy

    @property
    def stream(self) -> Stream:
        """The columns of k."""
        return self.dense.stream

    def sources(self, columns: Any, start: Expr) -> tuple[CopySource, ...]:
        """Of x, of what is kept and of places, in the stage that begins with column ``start``."""
        return (
            lambda turn, number: self.dense.x(columns, turn, number),
            lambda turn, _: self._kept(start, turn),
            lambda turn, _: self._places(start, turn),
        )

    def _kept(self, start: Expr, turn: int) -> tuple[Expr, Expr]:
        row, column = (
            self.output + self.kept.row + turn * self.kept.step,
            start // 2 + self.kept.chunk * self.kept.numbers,
        )
        live = TB.And(row < self.spec.n, column < self.spec.kept)
        return pointer(self.to.linear.weight, TB.cast(row, "int64") * self.spec.kept + column), live

    def _places(self, start: Expr, turn: int) -> tuple[Expr, Expr]:
        """Past the ends the last ones are copied once more: zeros would be no places, and what is kept there is 0."""
        pieces, across = self.spec.pieces
        each = COLUMNS // 8  # chunks of a piece
        row = TB.min(self.output // ROWS + self.places.row + turn * self.places.step, pieces - 1)
        column = TB.min(start // COLUMNS + self.places.chunk // each, across - 1)
        first = (TB.cast(row, "int64") * across + column) * 32 + self.places.chunk % each * 4
        return pointer(self.to.places, first), tirx.const(True, "bool")


def two_of_four_factors(
    spec: CudaTwoOfFourSpec, to: TwoOfFourTensors, dense: Factors, output: Expr, *copies: TileCopy
) -> TwoOfFourFactors:
    """Those of the tile at ``output``."""
    return TwoOfFourFactors(spec, to, dense, ptx.kept(output), *copies)
