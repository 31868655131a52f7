"""The part of a tile that a warp computes."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule


@dataclass(frozen=True)
class WarpPart:
    """``tokens`` x ``outputs`` from (first_token, first_output) of the tile on.

    Attributes:
        k_slice, slices: which part of the k of a stage it multiplies, and of how many.
        warp: its number in the block; others have the same part of the tile, as many warps further on as ``apart``.
        lane: number of this thread in the warp.
    """

    tokens: int
    outputs: int
    first_token: Expr
    first_output: Expr
    k_slice: Expr
    slices: int
    apart: int
    warp: Expr
    lane: Expr

    def steps(self, count: int) -> list[Expr]:
        """This warp's steps of ``count`` that a stage has."""
        each = count // self.slices
        return [self.k_slice * each + i if self.slices > 1 else i for i in range(each)]


def warp_part(schedule: CudaLinearSchedule, thread: Expr) -> WarpPart:
    tokens, outputs = schedule.tokens // schedule.token_warps, schedule.outputs // schedule.output_warps
    warp = thread // 32
    apart = schedule.token_warps * schedule.output_warps
    along, across = warp % schedule.token_warps, warp % apart // schedule.token_warps
    place, k = (along * tokens, across * outputs), (warp // apart, schedule.slices, apart)
    return WarpPart(tokens, outputs, *place, *k, warp, thread % 32)


def write_sums(sums: Any, part: WarpPart, tokens: int, to: Expr, tile: SharedTile) -> None:
    """Sums of tensor cores to shared memory.

    Args:
        sums: registers, 4 for each 16 tokens and 8 outputs, outputs first; as ``ptx.mma`` has them.
        part: of this warp.
        tokens: the first of the 16 that are written.
        to: where the tile begins.
        tile: [16, chunks of outputs] of float32.
    """
    across = part.outputs // 8
    for j in range(across):
        for half in range(2):  # of the 16 tokens
            place = tile.place(part.lane // 4 + 8 * half, j * 2 + part.lane % 4 // 2) + part.lane % 2 * 8
            first = 4 * (tokens // 16 * across + j) + 2 * half
            ptx.store_shared(to + place, ptx.at(sums, first), 2, "float32")
