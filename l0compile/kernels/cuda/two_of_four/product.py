"""Products of a warp's part of a tile by sparse tensor cores; the weight is their left matrix."""

from dataclasses import dataclass
from itertools import product
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.warp import WarpPart

X_CHUNKS, KEPT_CHUNKS, PLACE_CHUNKS = 8, 4, 8
"""Chunks of a row of each tile that belong to one piece of columns."""


@dataclass(frozen=True)
class TwoOfFourProduct:
    """Sums of 16 outputs x 8 tokens from fragments of a piece of 64 columns, in halves.

    Attributes:
        part: the part of the tile.
        x: tile [tokens, chunks of k].
        kept: tile [outputs, chunks of what is kept].
        places: tile [pieces of outputs, chunks of places].
        dtype: of the factors: "float16" or "bfloat16".
    """

    part: WarpPart
    x: SharedTile
    kept: SharedTile
    places: SharedTile
    dtype: str

    def sums(self) -> Any:
        """Registers for the sums: 4 for each 8 tokens and 16 outputs, outputs first."""
        return ptx.registers(self.part.tokens * self.part.outputs // 32, "float32")

    def multiply(self, sums: Any, x: Expr, kept: Expr, places: Expr) -> None:
        """Add the products of a stage whose tiles begin at these shared addresses."""
        across = self.part.outputs // 16
        told, of_weight, of_x = ptx.registers(across), ptx.registers(4 * across), ptx.registers(4)
        for piece in self.part.steps(self.x.chunks // X_CHUNKS):
            for i in range(across):
                self._load_places(ptx.at(told, i), i, places, piece)
            for half in range(2):
                for i in range(across):
                    self._load_weight(ptx.at(of_weight, 4 * i), i, kept, piece, half)
                for j in range(self.part.tokens // 8):
                    self._load_x(ptx.at(of_x), j, x, piece, half)
                    for i in range(across):
                        place = ptx.at(sums, 4 * (j * across + i))
                        ptx.mma_sp(self.dtype, place, ptx.at(of_weight, 4 * i), ptx.at(of_x), told[i], half)

    def write(self, sums: Any, tokens: int, to: Expr, tile: SharedTile) -> None:
        """The sums of the 16 tokens from ``tokens`` on to a tile [16, chunks of outputs] of float32."""
        lane, across = self.part.lane, self.part.outputs // 16
        for half, i, number in product(range(2), range(across), range(4)):
            output = 16 * i + number // 2 * 8 + lane // 4
            place = tile.place(8 * half + lane % 4 * 2 + number % 2, output // 4) + output % 4 * 4
            first = 4 * ((tokens // 8 + half) * across + i) + number
            ptx.store_shared(to + place, ptx.at(sums, first), 1, "float32")

    def _load_places(self, to: Expr, i: int, places: Expr, piece: Expr) -> None:
        """A word for each lane: the halves of a piece are told by other lanes."""
        lane = self.part.lane
        row = self.part.first_output // 16 + i
        place = self.places.place(row, PLACE_CHUNKS * piece + lane // 4) + lane % 4 * 4
        ptx.load_shared(to, places + place, 1)

    def _load_weight(self, to: Expr, i: int, kept: Expr, piece: Expr, half: int) -> None:
        lane = self.part.lane
        row, chunk = self.part.first_output + 16 * i + lane % 16, KEPT_CHUNKS * piece + 2 * half + lane // 16
        ptx.ldmatrix(to, kept + self.kept.place(row, chunk), 4)

    def _load_x(self, to: Expr, j: int, x: Expr, piece: Expr, half: int) -> None:
        lane = self.part.lane
        row, chunk = self.part.first_token + 8 * j + lane % 8, X_CHUNKS * piece + 4 * half + lane // 8
        ptx.ldmatrix(to, x + self.x.place(row, chunk), 4)
