"""Products of a warp's part of a tile of 8-bit integers, by tensor cores."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.warp import WarpPart


@dataclass(frozen=True)
class IntegerProduct:
    """Sums of 16 tokens x 8 outputs from fragments of two chunks of k, which are 32 features.

    Attributes:
        part: the part of the tile.
        x: tile [tokens, chunks of k].
        weight: tile [outputs, chunks of k] of a dense layer, [chunks of k, outputs] of a sparse one.
        dense: which of them.
        of_8_rows: the instruction has 8 rows and k 16, as on sm_75.
    """

    part: WarpPart
    x: SharedTile
    weight: SharedTile
    dense: bool
    of_8_rows: bool

    def sums(self) -> Any:
        """Registers for the sums: 4 for each 16 tokens and 8 outputs, outputs first."""
        return ptx.registers(self.part.tokens * self.part.outputs // 32, "int32")

    def multiply(self, sums: Any, x: Expr, weight: Expr) -> None:
        """Add the products of a stage whose tiles begin at the shared addresses ``x`` and ``weight``."""
        of_x, of_weight = ptx.registers(4 * (self.part.tokens // 16)), ptx.registers(4)
        for step in self.part.steps(self.x.chunks // 2):
            for i in range(self.part.tokens // 16):
                self._load_x(ptx.at(of_x, 4 * i), i, x, step)
            for j in range(0, self.part.outputs // 8, 2):
                self._load_weight(ptx.at(of_weight), j, weight, step)
                for i, half in product(range(self.part.tokens // 16), range(2)):
                    number = i * (self.part.outputs // 8) + j + half
                    self._add(sums, 4 * number, of_x, 4 * i, of_weight, 2 * half)

    def write(self, sums: Any, tokens: int, to: Expr, tile: SharedTile) -> None:
        """The sums of the 16 tokens from ``tokens`` on to a tile [16, chunks of outputs] of int32."""
        lane, across = self.part.lane, self.part.outputs // 8
        for j, half in product(range(across), range(2)):
            place = tile.place(lane // 4 + 8 * half, j * 2 + lane % 4 // 2) + lane % 2 * 8
            first = 4 * (tokens // 16 * across + j) + 2 * half
            ptx.store_shared(to + place, ptx.at(sums, first), 2, "int32")

    def _load_x(self, to: Expr, i: int, x: Expr, step: Expr) -> None:
        lane = self.part.lane
        row = self.part.first_token + 16 * i + lane % 16
        ptx.ldmatrix(to, x + self.x.place(row, 2 * step + lane // 16), 4)

    def _load_weight(self, to: Expr, j: int, weight: Expr, step: Expr) -> None:
        """Two fragments: of outputs 8 j to 8 j + 15, each of two chunks of k."""
        lane = self.part.lane
        output = self.part.first_output + 8 * j + lane // 16 * 8 + lane % 8
        k = 2 * step + lane // 8 % 2
        place = self.weight.place(output, k) if self.dense else self.weight.place(k, output)
        ptx.ldmatrix(to, weight + place, 4)

    def _add(self, sums: Any, first: int, of_x: Any, i: int, of_weight: Any, j: int) -> None:
        if not self.of_8_rows:
            ptx.mma("int8", ptx.at(sums, first), ptx.at(of_x, i), ptx.at(of_weight, j))
            return
        for rows, k in product(range(2), range(2)):
            ptx.mma_8_rows(
                ptx.at(sums, first + 2 * rows), ptx.at(of_x, i + rows + 2 * k), ptx.at(of_weight, j + k)
            )
