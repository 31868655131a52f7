"""How attention on tensor cores is cut: thread blocks of a multiprocessor, and queries in registers."""

from dataclasses import replace

import pytest

from l0compile.kernels.cpu.attention.block.spec import ListAxes
from l0compile.kernels.cuda.architecture import RESERVED_BYTES, shared_bytes
from l0compile.kernels.cuda.attention.schedules import (
    ATTENTION_SCHEDULES,
    CudaAttentionSchedule,
    held_depth,
    shared_plan,
)
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec, MaskOperand
from tests.kernels.cuda.attention_cases import machine

PLAIN = CudaAttentionSpec(12, 12, 64, 64, 0.125, "bfloat16")
KEYS = MaskOperand((True, False, False, True), "bool")
LISTED = CudaBlockAttentionSpec(PLAIN, 128, 64, full=ListAxes(False, True))


@pytest.mark.parametrize("architecture", [75, 80, 86, 89, 90, 100])
def test_shared_memory_is_enough_for_the_thread_blocks_that_registers_are_for(architecture: int) -> None:
    target = machine(architecture)
    for dim in (32, 40, 64, 96, 128):
        own = replace(PLAIN, dim=dim, value_dim=dim, dtype="float16")
        for spec in (own, replace(own, after=0), replace(own, mask=KEYS), replace(LISTED, attention=own)):
            legal = ATTENTION_SCHEDULES.legal(spec, target)
            assert legal[0] == ATTENTION_SCHEDULES.default(spec, target)
            for schedule in legal:
                each = shared_plan(spec, schedule).bytes + RESERVED_BYTES
                assert max(1, schedule.blocks) * each <= shared_bytes(target) + RESERVED_BYTES


@pytest.mark.parametrize("spec", [PLAIN, LISTED], ids=["dense", "listed"])
def test_four_thread_blocks_where_they_fit_else_three_that_hold_their_queries(
    spec: CudaAttentionSpec | CudaBlockAttentionSpec,
) -> None:
    for architecture, blocks, held in ((80, 4, 0), (90, 4, 0), (86, 3, 4), (89, 3, 4)):
        schedule = ATTENTION_SCHEDULES.default(spec, machine(architecture))
        assert (schedule.blocks, held_depth(PLAIN, schedule), schedule.warp_rows) == (blocks, held, 32)


def test_wide_heads_keep_warps_of_32_queries_and_fewer_thread_blocks() -> None:
    """A quarter of the warps at once would leave them 16 queries each, and shared memory the slowest part."""
    wide = replace(PLAIN, dim=128, value_dim=128)
    schedule = ATTENTION_SCHEDULES.default(wide, machine(80))
    assert (schedule.warp_rows, schedule.blocks, held_depth(wide, schedule)) == (32, 2, 0)
    assert CudaAttentionSchedule(128, 32, 8, 2, 2, 2) in ATTENTION_SCHEDULES.legal(wide, machine(80))
