"""Products of a warp's part of a tile by ordinary multiply-adds: exact float32."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.warp import WarpPart


@dataclass(frozen=True)
class MultiplyAddProduct:
    """Each thread has some tokens times some outputs; lanes lie in ``down`` rows of neighbours along the outputs.

    Of a dense layer, whose tile has k side by side, a thread has single outputs; of a sparse one four side by side.

    Attributes:
        part: the part of the tile.
        x: tile [tokens, chunks of k].
        weight: tile [outputs, chunks of k] of a dense layer, [k, chunks of outputs] of a sparse one.
        dense: which of them.
    """

    part: WarpPart
    x: SharedTile
    weight: SharedTile
    dense: bool

    @property
    def across(self) -> int:
        """Lanes along the outputs."""
        return min(8, self.part.outputs // 4)

    @property
    def down(self) -> int:
        """Lanes along the tokens."""
        return 32 // self.across

    @property
    def each(self) -> tuple[int, int]:
        """Tokens and outputs of a thread."""
        return self.part.tokens // self.down, self.part.outputs // self.across

    def sums(self) -> Any:
        return ptx.registers(self.each[0] * self.each[1], "float32")

    def multiply(self, sums: Any, x: Expr, weight: Expr) -> None:
        """Add the products of a stage whose tiles begin at the shared addresses ``x`` and ``weight``."""
        tokens, outputs = self.each
        of_x, of_weight = ptx.registers(4 * tokens, "float32"), ptx.registers(4 * outputs, "float32")
        for chunk in self.part.steps(self.x.chunks):
            for i in range(tokens):
                ptx.load_shared(ptx.at(of_x, 4 * i), x + self.x.place(self._token(i), chunk), 4, "float32")
            self._load_weight(of_weight, weight, chunk)
            for k in range(4):
                for i in range(tokens):
                    for j in range(outputs):
                        number, factor = i * outputs + j, 4 * j + k if self.dense else k * outputs + j
                        store(sums, sums[number] + of_x[4 * i + k] * of_weight[factor], number)

    def write(self, sums: Any, tokens: int, to: Expr, tile: SharedTile) -> None:
        """The sums of the 16 tokens from ``tokens`` on to a tile [16, chunks of outputs] of float32."""
        outputs = self.each[1]
        for i in range(16 // self.down):
            row, first = self._row() + i * self.down, (tokens // self.down + i) * outputs
            if self.dense:
                for j in range(outputs):
                    column = self._column() + j * self.across
                    place = tile.place(row, column // 4) + column % 4 * 4
                    ptx.store_shared(to + place, ptx.at(sums, first + j), 1, "float32")
            else:
                for j in range(outputs // 4):
                    place = tile.place(row, self._column() + j * self.across)
                    ptx.store_shared(to + place, ptx.at(sums, first + 4 * j), 4, "float32")

    def _row(self) -> Expr:
        return self.part.lane // self.across

    def _column(self) -> Expr:
        return self.part.lane % self.across

    def _token(self, i: int) -> Expr:
        return self.part.first_token + self._row() + i * self.down

    def _load_weight(self, registers: Any, weight: Expr, chunk: Expr) -> None:
        """Four k of all outputs of the thread; see the class for what lies side by side."""
        outputs = self.each[1]
        if self.dense:
            for j in range(outputs):
                row = self.part.first_output + self._column() + j * self.across
                ptx.load_shared(
                    ptx.at(registers, 4 * j), weight + self.weight.place(row, chunk), 4, "float32"
                )
            return
        for k in range(4):
            for j in range(outputs // 4):
                place = self.weight.place(
                    4 * chunk + k, self.part.first_output // 4 + self._column() + j * self.across
                )
                ptx.load_shared(ptx.at(registers, k * outputs + 4 * j), weight + place, 4, "float32")
