"""The code of CUDA's linear kernels: tiles of results, each the sum of stages of products.

A thread block computes a tile of tokens x outputs. Its threads copy tiles of x and of the weight to shared memory, some
stages ahead (``pipeline``); warps multiply their part of them (``tensor_cores``, ``warpgroups``, ``multiply_add``);
and the sums go to memory with bias, activation and residual (``results``). A sparse layer differs from a dense one in
the columns of k that a tile goes through (``stream``), and in how a tile of the weight lies.
"""

from dataclasses import dataclass
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import Expr, body, kernel, scratch, store
from l0compile.kernels.cuda import ptx, warpgroup
from l0compile.kernels.cuda.architecture import has_ampere_instructions
from l0compile.kernels.cuda.linear.copies import TileCopy
from l0compile.kernels.cuda.linear.factors import factors
from l0compile.kernels.cuda.linear.multiply_add import MultiplyAddProduct
from l0compile.kernels.cuda.linear.numbers import row_of
from l0compile.kernels.cuda.linear.parts import add_parts
from l0compile.kernels.cuda.linear.pipeline import Pipeline, WarpProduct
from l0compile.kernels.cuda.linear.results import LinearEpilogue, Parts, WarpResults
from l0compile.kernels.cuda.linear.schedules import check_schedule, default_schedule, kernel_bytes
from l0compile.kernels.cuda.linear.shared_tile import SharedTile
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.cuda.linear.tensor_cores import TensorCoreProduct
from l0compile.kernels.cuda.linear.tensors import CudaLinearTensors, per_chunk, piece, tensors
from l0compile.kernels.cuda.linear.warp import WarpPart, warp_part
from l0compile.kernels.cuda.linear.warpgroups import WarpgroupProduct
from l0compile.kernels.cuda.linear.work import Work
from l0compile.kernels.tir import TB, tirx


def cuda_linear(spec: CudaLinearSpec, target: Target, schedule: CudaLinearSchedule | None = None) -> Any:
    """PrimFunc(x, weight | data, indices, indptr[, order][, bias][, residual], y); tokens and nnz are symbolic.

    Each tensor begins at a multiple of 16 bytes.

    Raises:
        BuildError: the target has no such numbers, or blocks have rows that tiles don't cut.
        ScheduleError: the schedule does not fit.
    """
    schedule = schedule or default_schedule(spec, target)
    check_schedule(spec, target, schedule)
    with kernel("cuda_linear") as builder:
        to = tensors(spec)
        epilogue = LinearEpilogue(spec, to, lambda row: row_of(to.y, row), has_ampere_instructions(target))
        with body():
            if schedule.splits == 1:
                _Tiles(spec, target, schedule, to, epilogue).emit()
            else:
                parts = Parts(scratch((schedule.splits * to.tokens * spec.n,)), spec.n)
                _Tiles(spec, target, schedule, to, epilogue.of_parts(parts)).emit()
                add_parts(epilogue, parts, schedule.splits)
    return builder.get().with_attr("tirx.is_scheduled", True)


@dataclass(frozen=True)
class _Tiles:
    """The kernel that computes tiles of sums, and what becomes of them: ``epilogue``."""

    spec: CudaLinearSpec
    target: Target
    schedule: CudaLinearSchedule
    to: CudaLinearTensors
    epilogue: LinearEpilogue

    def emit(self) -> None:
        work = Work(self.spec, self.schedule, self.to)
        blocks = TB.max(work.items, 1)
        if self.schedule.resident:
            blocks = TB.min(blocks, self.schedule.resident * self.target.cores)
        with (
            TB.launch_thread("blockIdx.x", blocks) as block,
            TB.launch_thread("threadIdx.x", self.schedule.threads) as thread,
            ptx.least_blocks(self.schedule.blocks),
        ):
            part = warp_part(self.schedule, thread)
            memory = self._memory()
            if not self.schedule.resident:
                self._compute(work, TB.cast(block, "int32"), part, thread, memory)
                return
            first = TB.cast(block, "int64")
            with TB.serial(0, (work.items - first + blocks - 1) // blocks) as turn:
                self._compute(work, TB.cast(first + turn * blocks, "int32"), part, thread, memory)
                ptx.barrier()  # the next tile's stages take the place of these results

    def _memory(self) -> Expr:
        size = kernel_bytes(self.spec, self.schedule)
        return (
            ptx.shared_memory(size, warpgroup.ALIGNMENT)
            if self.schedule.warpgroups
            else ptx.shared_memory(size)
        )

    def _compute(self, work: Work, item: Expr, part: WarpPart, thread: Expr, memory: Expr) -> None:
        place, pipeline = work.place(item), self._pipeline(part, thread, memory)
        stages = (place.stream.length + self.schedule.depth - 1) // self.schedule.depth
        first, end = (ptx.kept((place.split + i) * stages // self.schedule.splits) for i in (0, 1))
        sums = pipeline.product.sums()
        for i in range(part.tokens * part.outputs // 32):
            store(sums, tirx.const(0.0, "float32"), i)
        copied = factors(place.stream, place.token, place.output, *pipeline.copies)
        pipeline.run(copied, sums, first, ptx.kept(end - first))
        row = TB.cast(place.split, "int64") * self.to.tokens if self.schedule.splits > 1 else 0
        WarpResults(self.epilogue, part, memory).write(pipeline.product, sums, place.token, place.output, row)

    def _pipeline(self, part: WarpPart, thread: Expr, memory: Expr) -> Pipeline:
        spec, schedule, numbers = self.spec, self.schedule, per_chunk(self.spec.dtype)
        panels = schedule.warpgroups
        x = SharedTile(schedule.tokens, schedule.depth // numbers, in_panels=panels)
        of_x = of_weight = piece(spec.dtype, spec.k)
        weight = SharedTile(schedule.outputs, schedule.depth // numbers, in_panels=panels)
        if not spec.dense:
            of_x, of_weight = piece(spec.dtype, spec.k, spec.cols), numbers
            weight = SharedTile(schedule.depth, schedule.outputs // numbers, spec.tf32, panels)
        copies = self._copy(x, thread, of_x), self._copy(weight, thread, of_weight)
        return Pipeline(schedule, self._product(part, x, weight), copies, memory)

    def _product(self, part: WarpPart, x: SharedTile, weight: SharedTile) -> WarpProduct:
        spec = self.spec
        if spec.dtype == "float32" and not spec.tf32:
            return MultiplyAddProduct(part, x, weight, spec.dense)
        if self.schedule.warpgroups:
            return WarpgroupProduct(part, x, weight, spec.dense, spec.dtype)
        dtype = "tf32" if spec.tf32 else spec.dtype
        return TensorCoreProduct(part, x, weight, spec.dense, dtype, not has_ampere_instructions(self.target))

    def _copy(self, tile: SharedTile, thread: Expr, each: int) -> TileCopy:
        numbers = per_chunk(self.spec.dtype)
        at_once = 16 // numbers * each in ptx.COPY_BYTES and has_ampere_instructions(self.target)
        return TileCopy(tile, self.schedule.threads, thread, numbers, each, at_once)
