"""Products of a tile by warpgroups (``wgmma``), which read both factors from shared memory: float16 and bfloat16."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx, warpgroup
from l0compile.kernels.cuda.linear.shared_tile import CHUNK, SharedTile
from l0compile.kernels.cuda.linear.warp import WarpPart, write_sums

# Chunks of k in a product.
_STEP = 2


@dataclass(frozen=True)
class WarpgroupProduct:
    """Sums of 64 tokens x all outputs of a tile; the part of a warp is 16 of these tokens.

    TF32 stays with warps: they round factors in registers, where a product here would cut them off.

    Attributes:
        part: the part of the warp.
        x: tile [tokens, chunks of k].
        weight: tile [outputs, chunks of k] of a dense layer, [k, chunks of outputs] of a sparse one.
        dense: which of them.
        dtype: of the factors.
    """

    part: WarpPart
    x: SharedTile
    weight: SharedTile
    dense: bool
    dtype: str

    def sums(self) -> Any:
        """Registers for the sums: 4 for each 8 outputs."""
        return ptx.registers(self.part.outputs // 2, "float32")

    def multiply(self, sums: Any, x: Expr, weight: Expr) -> None:
        """Begin the products of a stage whose tiles begin at the shared addresses ``x`` and ``weight``.

        Until ``warpgroup.wait(0)`` nothing may touch the sums.
        """
        # Of the four warps; the part is that of one.
        token = self.part.first_token // warpgroup.ROWS * warpgroup.ROWS
        warpgroup.fence()
        for step in self.part.steps(self.x.chunks // _STEP):
            a = self._along_k(self.x, x, token, step)
            b = self._along_k(self.weight, weight, 0, step) if self.dense else self._across(weight, step)
            warpgroup.mma(self.dtype, self.part.outputs, not self.dense, ptx.at(sums), a, b)
        warpgroup.commit()

    def write(self, sums: Any, tokens: int, to: Expr, tile: SharedTile) -> None:
        """The sums of the warp's tokens to a tile [16, chunks of outputs] of float32."""
        write_sums(sums, self.part, tokens, to, tile)

    def _along_k(self, tile: SharedTile, address: Expr, row: Expr, step: Expr) -> Expr:
        """The descriptor of rows from ``row`` on, in a step of k."""
        first = tile.panel_place(row, _STEP * step)
        return warpgroup.descriptor(address + first, tile.row_bytes)

    def _across(self, address: Expr, step: Expr) -> Expr:
        """The descriptor of a step of k that is some rows of a tile."""
        rows = _STEP * CHUNK // 2  # numbers of 2 bytes
        first = self.weight.panel_place(rows * step, 0)
        return warpgroup.descriptor(address + first, self.weight.row_bytes, self.weight.panel_bytes)
