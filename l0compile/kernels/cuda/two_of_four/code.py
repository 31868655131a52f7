"""The code of CUDA's linear kernel for 2:4 (oracle: ``l0compile::two_of_four_linear``).

Tiles, stages and what becomes of sums are those of a dense layer (``kernels/cuda/linear``); what differs are the
factors of a stage, of which there are three, and that outputs are the rows of a product and tokens its columns.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import Expr, body, kernel, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.linear.copies import TileCopy
from l0compile.kernels.cuda.linear.factors import factors
from l0compile.kernels.cuda.linear.numbers import row_of
from l0compile.kernels.cuda.linear.pipeline import Pipeline
from l0compile.kernels.cuda.linear.results import LinearEpilogue, WarpResults
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.linear.tensors import per_chunk, piece
from l0compile.kernels.cuda.linear.warp import WarpPart, warp_part
from l0compile.kernels.cuda.linear.work import Place, Work
from l0compile.kernels.cuda.two_of_four.factors import two_of_four_factors
from l0compile.kernels.cuda.two_of_four.product import TwoOfFourProduct
from l0compile.kernels.cuda.two_of_four.schedules import (
    check_two_of_four_schedule,
    default_two_of_four_schedule,
    two_of_four_bytes,
)
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec
from l0compile.kernels.cuda.two_of_four.tensors import TwoOfFourTensors, two_of_four_tensors
from l0compile.kernels.tir import TB, tirx

_WORDS = per_chunk("int32")


def cuda_two_of_four_linear(
    spec: CudaTwoOfFourSpec, target: Target, schedule: CudaLinearSchedule | None = None
) -> Any:
    """PrimFunc(x, kept, places[, bias][, residual], y); tokens are symbolic, each tensor begins at 16 bytes.

    Raises:
        BuildError: the target has no sparse tensor cores.
        ScheduleError: the schedule does not fit.
    """
    schedule = schedule or default_two_of_four_schedule(spec, target)
    check_two_of_four_schedule(spec, target, schedule)
    with kernel("cuda_two_of_four_linear") as builder:
        to = two_of_four_tensors(spec)
        with body():
            _TwoOfFourTiles(spec, schedule, to).emit()
    return builder.get().with_attr("tirx.is_scheduled", True)


@dataclass(frozen=True)
class _TwoOfFourTiles:
    """The kernel that computes tiles of results."""

    spec: CudaTwoOfFourSpec
    schedule: CudaLinearSchedule
    to: TwoOfFourTensors

    def emit(self) -> None:
        work = Work(self.spec.dense, self.schedule, self.to.linear)
        with (
            TB.launch_thread("blockIdx.x", TB.max(work.items, 1)) as block,
            TB.launch_thread("threadIdx.x", self.schedule.threads) as thread,
            ptx.least_blocks(self.schedule.blocks),
        ):
            part, memory = (
                warp_part(self.schedule, thread),
                ptx.shared_memory(two_of_four_bytes(self.schedule)),
            )
            self._compute(work.place(TB.cast(block, "int32")), part, thread, memory)

    def _compute(self, place: Place, part: WarpPart, thread: Expr, memory: Expr) -> None:
        pipeline = self._pipeline(part, thread, memory)
        sums = pipeline.product.sums()
        for i in range(part.tokens * part.outputs // 32):
            store(sums, tirx.const(0.0, "float32"), i)
        of_x, *of_weight = pipeline.copies
        dense = factors(place.stream, place.token, place.output, of_x, of_weight[0])
        copied = two_of_four_factors(self.spec, self.to, dense, place.output, *of_weight)
        stages = -(-self.spec.k // self.schedule.depth)
        pipeline.run(copied, sums, ptx.kept(TB.int32(0)), ptx.kept(TB.int32(stages)))
        epilogue = LinearEpilogue(
            self.spec.dense, self.to.linear, lambda row: row_of(self.to.linear.y, row), True
        )
        WarpResults(epilogue, part, memory).write(pipeline.product, sums, place.token, place.output, 0)

    def _pipeline(self, part: WarpPart, thread: Expr, memory: Expr) -> Pipeline:
        schedule, numbers = self.schedule, per_chunk(self.spec.dtype)
        x = SharedTile(schedule.tokens, schedule.depth // numbers)
        kept = SharedTile(schedule.outputs, schedule.depth // 2 // numbers)
        places = SharedTile(schedule.outputs // 16, schedule.depth // 8)
        each = piece(self.spec.dtype, self.spec.k)
        copies = (
            TileCopy(x, schedule.threads, thread, numbers, each, 16 // numbers * each in ptx.COPY_BYTES),
            TileCopy(kept, schedule.threads, thread, numbers, numbers, True),
            TileCopy(places, schedule.threads, thread, _WORDS, _WORDS, True),
        )
        return Pipeline(schedule, TwoOfFourProduct(part, x, kept, places, self.spec.dtype), copies, memory)
