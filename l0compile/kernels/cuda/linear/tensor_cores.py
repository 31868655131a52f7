"""Products of a warp's part of a tile by tensor cores: float16, bfloat16 and TF32."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.warp import WarpPart, write_sums
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class TensorCoreProduct:
    """Sums of 16 tokens x 8 outputs from fragments of two chunks of k.

    Attributes:
        part: the part of the tile.
        x: tile [tokens, chunks of k].
        weight: tile [outputs, chunks of k] of a dense layer, [k, chunks of outputs] of a sparse one.
        dense: which of them.
        dtype: of the factors: "float16", "bfloat16" or "tf32".
        of_k8: the instruction has k 8, as on sm_75.
    """

    part: WarpPart
    x: SharedTile
    weight: SharedTile
    dense: bool
    dtype: str
    of_k8: bool

    def sums(self) -> Any:
        """Registers for the sums: 4 for each 16 tokens and 8 outputs, outputs first."""
        return ptx.registers(self.part.tokens * self.part.outputs // 32, "float32")

    def multiply(self, sums: Any, x: Expr, weight: Expr) -> None:
        """Add the products of a stage whose tiles begin at the shared addresses ``x`` and ``weight``."""
        of_x, of_weight = ptx.registers(4 * (self.part.tokens // 16)), ptx.registers(4)
        for step in self.part.steps(self.x.chunks // 2):
            for i in range(self.part.tokens // 16):
                self._load_x(of_x, i, x, step)
            for j in range(0, self.part.outputs // 8, 2):
                self._load_weight(of_weight, j, weight, step)
                for i, half in product(range(self.part.tokens // 16), range(2)):
                    number = i * (self.part.outputs // 8) + j + half
                    self._add(ptx.at(sums, 4 * number), of_x, 4 * i, of_weight, 2 * half)

    def write(self, sums: Any, tokens: int, to: Expr, tile: SharedTile) -> None:
        """The sums of the 16 tokens from ``tokens`` on to a tile [16, chunks of outputs] of float32."""
        write_sums(sums, self.part, tokens, to, tile)

    def _load_x(self, fragments: Any, i: int, x: Expr, step: Expr) -> None:
        lane = self.part.lane
        row = self.part.first_token + 16 * i + lane % 16
        ptx.ldmatrix(ptx.at(fragments, 4 * i), x + self.x.place(row, 2 * step + lane // 16), 4)
        self._round(fragments, 4 * i)

    def _load_weight(self, fragments: Any, j: int, weight: Expr, step: Expr) -> None:
        """Two fragments: of outputs 8 j to 8 j + 15."""
        lane, to = self.part.lane, ptx.at(fragments)
        output = self.part.first_output + 8 * j
        if self.dense:
            row = output + lane // 16 * 8 + lane % 8
            ptx.ldmatrix(to, weight + self.weight.place(row, 2 * step + lane // 8 % 2), 4)
        elif self.dtype == "tf32":
            self._gather(fragments, weight, output, step)
        else:
            place = self.weight.place(16 * step + lane % 16, output // 8 + lane // 16)
            ptx.ldmatrix(to, weight + place, 4, transposed=True)
        self._round(fragments, 0)

    def _gather(self, fragments: Any, weight: Expr, output: Expr, step: Expr) -> None:
        """``ldmatrix`` transposes numbers of 16 bits only."""
        lane = self.part.lane
        for number in range(4):
            k, column = 8 * step + number % 2 * 4 + lane % 4, output + number // 2 * 8 + lane // 4
            place = self.weight.place(k, column // 4) + column % 4 * 4
            ptx.load_shared(ptx.at(fragments, number), weight + place, 1)

    def _round(self, fragments: Any, first: int) -> None:
        if self.dtype == "tf32":
            for i in range(first, first + 4):
                store(fragments, ptx.to_tf32(TB.reinterpret("float32", fragments[i])), i)

    def _add(self, sums: Expr, of_x: Any, i: int, of_weight: Any, j: int) -> None:
        if not self.of_k8:
            ptx.mma(self.dtype, sums, ptx.at(of_x, i), ptx.at(of_weight, j))
            return
        for half in range(2):
            ptx.mma_k8(sums, ptx.at(of_x, i + 2 * half), ptx.at(of_weight, j + half))
