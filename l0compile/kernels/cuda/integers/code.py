"""The code of CUDA's linear kernels of 8-bit integers (oracle: ``l0compile::rows_int8_linear``).

Tiles, stages and copies are those of a layer whose numbers are words of four features (``kernels/cuda/linear``); what
differs is how a warp multiplies, and what becomes of its sums. A block of a sparse weight lies in chunks of 16 features
of one output, so that a fragment of it is loaded as one of a dense weight is.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import Expr, body, kernel, scratch, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.architecture import has_ampere_instructions
from l0compile.kernels.cuda.integers.parts import PartialSums, add_integer_parts
from l0compile.kernels.cuda.integers.product import IntegerProduct
from l0compile.kernels.cuda.integers.results import IntegerEpilogue
from l0compile.kernels.cuda.integers.schedules import check_integer_schedule, default_integer_schedule
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.integers.tensors import IntegerTensors, integer_tensors
from l0compile.kernels.cuda.linear.copies import TileCopy
from l0compile.kernels.cuda.linear.factors import Factors, chunk_factors, factors
from l0compile.kernels.cuda.linear.pipeline import Pipeline
from l0compile.kernels.cuda.linear.results import Parts, TileEpilogue, WarpResults
from l0compile.kernels.cuda.linear.schedules import kernel_bytes
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.linear.tensors import per_chunk, piece
from l0compile.kernels.cuda.linear.warp import WarpPart, warp_part
from l0compile.kernels.cuda.linear.work import Place, Work
from l0compile.kernels.tir import TB, tirx

_WORDS = per_chunk("int32")


def cuda_int8_linear(
    spec: CudaIntegerLinearSpec, target: Target, schedule: CudaLinearSchedule | None = None
) -> Any:
    """PrimFunc(x, data[, indices, indptr][, order], start, scale[, bias][, residual][, inverse], y).

    Tokens and nnz are symbolic; each tensor begins at a multiple of 16 bytes.

    Raises:
        BuildError: blocks have rows that tiles don't cut.
        ScheduleError: the schedule does not fit.
    """
    schedule = schedule or default_integer_schedule(spec, target)
    check_integer_schedule(spec, target, schedule)
    with kernel("cuda_int8_linear") as builder:
        to = integer_tensors(spec)
        epilogue = IntegerEpilogue(spec, to)
        with body():
            if schedule.splits == 1:
                _IntegerTiles(spec, target, schedule, to, epilogue).emit()
            else:
                parts = Parts(scratch((schedule.splits * to.tokens * spec.n,), "int32"), spec.n)
                _IntegerTiles(spec, target, schedule, to, PartialSums(parts, to.tokens)).emit()
                add_integer_parts(epilogue, parts, schedule.splits)
    return builder.get().with_attr("tirx.is_scheduled", True)


@dataclass(frozen=True)
class _IntegerTiles:
    """The kernel that computes tiles of sums, and what becomes of them: ``epilogue``."""

    spec: CudaIntegerLinearSpec
    target: Target
    schedule: CudaLinearSchedule
    to: IntegerTensors
    epilogue: TileEpilogue

    def emit(self) -> None:
        work = Work(self.spec.geometry, self.schedule, self.to.linear)
        blocks = TB.max(work.items, 1)
        if self.schedule.resident:
            blocks = TB.min(blocks, self.schedule.resident * self.target.cores)
        with (
            TB.launch_thread("blockIdx.x", blocks) as block,
            TB.launch_thread("threadIdx.x", self.schedule.threads) as thread,
            ptx.least_blocks(self.schedule.blocks),
        ):
            part = warp_part(self.schedule, thread)
            memory = ptx.shared_memory(kernel_bytes(self.spec.geometry, self.schedule))
            if not self.schedule.resident:
                self._compute(work.place(TB.cast(block, "int32")), part, thread, memory)
                return
            first = TB.cast(block, "int64")
            with TB.serial(0, (work.items - first + blocks - 1) // blocks) as turn:
                self._compute(work.place(TB.cast(first + turn * blocks, "int32")), part, thread, memory)
                ptx.barrier()  # the next tile's stages take the place of these results

    def _compute(self, place: Place, part: WarpPart, thread: Expr, memory: Expr) -> None:
        pipeline = self._pipeline(part, thread, memory)
        stages = (place.stream.length + self.schedule.depth - 1) // self.schedule.depth
        first, end = (ptx.kept((place.split + i) * stages // self.schedule.splits) for i in (0, 1))
        sums = pipeline.product.sums()
        for i in range(part.tokens * part.outputs // 32):
            store(sums, tirx.const(0, "int32"), i)
        pipeline.run(self._factors(place, pipeline), sums, first, ptx.kept(end - first))
        row = TB.cast(place.split, "int64") * self.to.tokens if self.schedule.splits > 1 else 0
        WarpResults(self.epilogue, part, memory).write(pipeline.product, sums, place.token, place.output, row)

    def _factors(self, place: Place, pipeline: Pipeline) -> Factors:
        made = factors if self.spec.dense else chunk_factors
        return made(place.stream, place.token, place.output, *pipeline.copies)

    def _pipeline(self, part: WarpPart, thread: Expr, memory: Expr) -> Pipeline:
        spec, schedule, chunks = self.spec.geometry, self.schedule, self.schedule.depth // _WORDS
        x = SharedTile(schedule.tokens, chunks)
        weight = SharedTile(schedule.outputs, chunks) if spec.dense else SharedTile(chunks, schedule.outputs)
        at_once = has_ampere_instructions(self.target)
        pieces = piece("int32", spec.k, spec.cols), piece("int32", spec.k) if spec.dense else _WORDS
        copies = tuple(
            TileCopy(tile, schedule.threads, thread, _WORDS, each, at_once)
            for tile, each in zip((x, weight), pieces, strict=True)
        )
        product = IntegerProduct(part, x, weight, spec.dense, not at_once)
        return Pipeline(schedule, product, copies, memory)
