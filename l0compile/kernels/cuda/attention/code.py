"""FlashAttention on a CUDA GPU: a thread block has a tile of queries of one head, and walks keys in steps.

Scores, weights and sums stay in registers; each step's keys and values come to shared memory while the step before
is computed. Which keys a tile walks, and what it sees of them, is all in which the two kernels differ.

The grid has one axis: it may have 2^31 - 1 thread blocks, where the others end at 65,535.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import Expr, kernel
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.architecture import has_ampere_instructions
from l0compile.kernels.cuda.attention.copies import TileRows, commit, copy_tile, wait
from l0compile.kernels.cuda.attention.dense_keys import DenseKeys
from l0compile.kernels.cuda.attention.device_functions import fresh
from l0compile.kernels.cuda.attention.engine import ProductEngine, engine_of
from l0compile.kernels.cuda.attention.key_source import KeySource
from l0compile.kernels.cuda.attention.listed_keys import ListedKeys
from l0compile.kernels.cuda.attention.results import write_results
from l0compile.kernels.cuda.attention.row_lists import row_program_operands
from l0compile.kernels.cuda.attention.schedules import (
    ATTENTION_SCHEDULES,
    AnyAttentionSpec,
    CudaAttentionSchedule,
    attention_of,
    check,
)
from l0compile.kernels.cuda.attention.scores import finish_scores
from l0compile.kernels.cuda.attention.softmax import Softmax
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec
from l0compile.kernels.cuda.attention.task import (
    CudaOperands,
    QueryTile,
    SizesOfCall,
    mask_and_bias,
    query_key_value,
    query_tile,
    result,
    sizes_of_call,
)
from l0compile.kernels.cuda.attention.tensor_cores import TensorCores
from l0compile.kernels.cuda.ptx import kept
from l0compile.kernels.tir import TB


def cuda_attention(
    spec: CudaAttentionSpec, target: Target, schedule: CudaAttentionSchedule | None = None
) -> Any:
    """PrimFunc(q, k, v[, mask][, bias], y); batch and lengths are symbolic.

    Raises:
        ScheduleError: the schedule does not fit.
    """
    with kernel("cuda_attention") as builder:
        sizes = sizes_of_call()
        tensors = query_key_value(spec, sizes)
        given = _operands(spec, target, schedule, sizes, tensors)
        tiles = given.tiles
        with _blocks(given, spec.heads * given.batch * tiles) as (block, thread):
            place, head = TB.truncmod(block, tiles), TB.truncdiv(block, tiles)
            if spec.after is not None:
                place = tiles - 1 - place  # the last tiles walk the most keys, and begin first
            first = kept(TB.cast(place * given.schedule.queries, "int32"))
            end = TB.min(first + given.schedule.queries, TB.cast(given.queries, "int32"))
            tile = query_tile(given, head, first, end, thread, ptx.shared_memory(given.plan.bytes))
            _attend(given, tile, DenseKeys.of(given, tile))
    return builder.get()


def cuda_block_attention(
    spec: CudaBlockAttentionSpec, target: Target, schedule: CudaAttentionSchedule | None = None
) -> Any:
    """PrimFunc(q, k, v, lists[, mask][, bias], y); batch, lengths and rows are symbolic.

    Raises:
        ScheduleError: the schedule does not fit.
    """
    with kernel("cuda_block_attention") as builder:
        sizes = sizes_of_call()
        tensors = query_key_value(spec.attention, sizes)
        program = row_program_operands(spec, sizes)
        given = _operands(spec, target, schedule, sizes, tensors)
        parts = -(-spec.q_block // given.schedule.queries)
        rows = TB.truncdiv(given.queries + (spec.q_block - 1), spec.q_block)
        with _blocks(given, spec.attention.heads * given.batch * rows * parts) as (block, thread):
            head, place = TB.truncdiv(block, rows * parts), TB.truncmod(block, rows * parts)
            row = kept(TB.cast(TB.truncdiv(place, parts), "int32"))
            inside = kept(TB.cast(TB.truncmod(place, parts), "int32") * given.schedule.queries)
            first = kept(row * spec.q_block + inside)
            end = TB.min(first + given.schedule.queries, (row + 1) * spec.q_block)
            end = TB.min(end, TB.cast(given.queries, "int32"))
            tile = query_tile(given, head, first, end, thread, ptx.shared_memory(given.plan.bytes))
            with TB.If(first < tile.end), TB.Then():
                _attend(given, tile, ListedKeys.of(given, spec, program, tile, row, inside))
    return builder.get()


def _operands(
    spec: AnyAttentionSpec,
    target: Target,
    schedule: CudaAttentionSchedule | None,
    sizes: SizesOfCall,
    tensors: tuple[Any, Any, Any],
) -> CudaOperands:
    """The operands, of which mask, bias and result are declared here."""
    chosen = schedule or ATTENTION_SCHEDULES.default(spec, target)
    plan, own = check(spec, target, chosen), attention_of(spec)
    mask, bias = mask_and_bias(own, sizes)
    return CudaOperands(
        own, chosen, plan, has_ampere_instructions(target), sizes.batch, sizes.queries, sizes.keys, *tensors, mask,
        bias, result(own, sizes),
    )  # fmt: skip


@contextlib.contextmanager
def _blocks(given: CudaOperands, count: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Launch thread blocks; (number of the block, int64, and of the thread in it, int32)."""
    with (
        TB.launch_thread("blockIdx.x", count) as block,
        TB.launch_thread("threadIdx.x", given.schedule.threads) as thread,
        ptx.least_blocks(given.schedule.blocks),
    ):
        yield kept(block, "int64"), kept(thread)


def _attend(given: CudaOperands, tile: QueryTile, keys: KeySource) -> None:
    """All of a tile's work: queries, then step by step scores, weights and sums, then results."""
    engine = engine_of(given, tile)
    softmax = Softmax.of(given, engine)
    keys.prepare(TB.int32(0))
    _load_queries(given, tile)
    commit(given)
    double = given.schedule.stages == 2
    if keys.looks_up:
        ptx.barrier()
    if double:
        with TB.If(keys.steps > 0), TB.Then():
            _load_step(given, tile, keys, TB.int32(0))
        commit(given)
        keys.prepare(TB.int32(1))
    wait(given, int(double))
    ptx.barrier()
    engine.take_queries()
    with TB.serial(0, keys.steps) as step:
        stage = _advance(given, tile, keys, step)
        _anew(engine).multiply_keys(stage)
        finish_scores(given, tile, _anew(engine), keys, step)
        softmax.take()
        _anew(engine).add_values(stage + given.schedule.keys * given.plan.key_row * given.spec.bytes)
    write_results(given, tile, engine, softmax)


def _anew(engine: ProductEngine) -> ProductEngine:
    """The same engine, whose addresses the compiler computes where they are used: they stay in no register."""
    if not isinstance(engine, TensorCores) or not engine.given.asynchronous:
        return engine  # copies through registers are what takes most of them
    return replace(engine, tile=replace(engine.tile, lane=kept(fresh(engine.tile.lane))))


def _advance(given: CudaOperands, tile: QueryTile, keys: KeySource, step: Expr) -> Expr:
    """Wait for the keys of a step, begin to load those of the next; the shared address of this step's."""
    if given.schedule.stages == 1:
        ptx.barrier()  # all have read the step before
        _load_step(given, tile, keys, step)
        commit(given)
        wait(given, 0)
        ptx.barrier()
        keys.prepare(step + 1)
        return tile.shared
    wait(given, 0)
    ptx.barrier()  # the step is there, and all have read the one before
    with TB.If(step + 1 < keys.steps), TB.Then():
        _load_step(given, tile, keys, step + 1)
    commit(given)
    keys.prepare(step + 2)
    return kept(tile.shared + TB.truncmod(step, 2) * given.plan.stage)


def _load_queries(given: CudaOperands, tile: QueryTile) -> None:
    def row_of(slot: Expr) -> tuple[Expr, Expr]:
        query = tile.first + slot
        return query, query < tile.end

    spec, plan = given.spec, given.plan
    rows = TileRows(given.q, tile.head, spec.dim, given.schedule.queries, plan.key_row, row_of)
    copy_tile(given, tile, rows, tile.shared + plan.queries)


def _load_step(given: CudaOperands, tile: QueryTile, keys: KeySource, step: Expr) -> None:
    """Begin to load the keys and values of a step."""
    step = kept(fresh(step))
    if given.asynchronous and given.spec.tensor_cores:
        tile = replace(tile, thread=kept(fresh(tile.thread)))

    def row_of(slot: Expr) -> tuple[Expr, Expr]:
        return keys.row_of(step, slot)

    spec, plan, count = given.spec, given.plan, given.schedule.keys
    place = kept(tile.shared + TB.truncmod(step, given.schedule.stages) * plan.stage)
    copy_tile(given, tile, TileRows(given.k, tile.kv_head, spec.dim, count, plan.key_row, row_of), place)
    values = TileRows(given.v, tile.kv_head, spec.value_dim, count, plan.value_row, row_of)
    copy_tile(given, tile, values, place + count * plan.key_row * spec.bytes)
