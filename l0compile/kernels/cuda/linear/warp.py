"""The part of a tile that a warp computes."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr
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
