"""Attention kernels of CUDA, executed by the emulation, against their operators in float64."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from l0compile.errors import BuildError, ScheduleError
from l0compile.kernels.cuda.attention.code import cuda_attention, cuda_block_attention
from l0compile.kernels.cuda.attention.schedules import ATTENTION_SCHEDULES, CudaAttentionSchedule
from l0compile.kernels.cuda.attention.spec import (
    CudaAttentionSpec,
    CudaBlockAttentionSpec,
    DistanceBias,
    MaskOperand,
)
from tests.kernels.cuda.attention_cases import (
    ALL,
    BY_HEAD,
    ONE,
    AttentionCase,
    check,
    compare,
    launched,
    machine,
    operands,
)

KEYS = MaskOperand((True, False, False, True), "bool")


def dense(dim: int, dtype: str, **others: object) -> CudaAttentionSpec:
    return CudaAttentionSpec(2, 1, dim, dim, dim**-0.5, dtype, **others)  # type: ignore[arg-type]


def listed(own: CudaAttentionSpec, q_block: int, k_block: int, *axes: object) -> CudaBlockAttentionSpec:
    full, partial, columns = axes
    return CudaBlockAttentionSpec(own, q_block, k_block, full, partial, partial, columns)  # type: ignore[arg-type]


EVERYTHING = {
    "mask": replace(KEYS, dtype="float32"), "bias": DistanceBias(True, "float32"), "softcap": 2.0, "log_sum_exp": True,
}  # fmt: skip
QUICK = {
    "causal, key heads shared": (AttentionCase(dense(32, "float16", after=0), (1, 70, 70)), 80),
    "a window, heads of other widths, float32": (
        AttentionCase(CudaAttentionSpec(2, 2, 28, 40, 0.3, "float32", before=9, after=3), (2, 75, 70)), 86,
    ),
    "before sm_80": (AttentionCase(dense(32, "float16", mask=KEYS), (1, 33, 100)), 75),
    "blocks, patterns and columns": (
        AttentionCase(listed(dense(40, "bfloat16"), 64, 16, ALL, BY_HEAD, ONE), (2, 100, 130)), 90,
    ),
    "all of it": (
        AttentionCase(listed(dense(32, "float32", **EVERYTHING), 20, 24, BY_HEAD, ALL, ONE), (2, 50, 130)), 80,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", QUICK)
def test_the_kernel_computes_what_the_operator_does(name: str) -> None:
    case, architecture = QUICK[name]
    check(case, machine(architecture))


GRID = [*product((32, 48, 64, 96, 128), ("float16", "bfloat16", "float32"))]
DENSE = {
    "plain": {},
    "key mask": {"mask": KEYS},
    "added mask of each query": {"mask": MaskOperand((True, True, True, True), "")},
    "causal": {"after": 0},
    "window": {"before": 30, "after": 5},
    "keys before only": {"before": -3},
}
LISTED = {
    "wide full blocks": (128, 128, {}, (ONE, None, None)),
    "patterns": (64, 64, {"log_sum_exp": True}, (BY_HEAD, ALL, None)),
    "small blocks, columns": (32, 16, {"mask": KEYS}, (ALL, ONE, BY_HEAD)),
    "odd blocks": (19, 21, {"softcap": 3.0, "log_sum_exp": True}, (ONE, BY_HEAD, ALL)),
    "columns only": (16, 8, {}, (None, None, ALL)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize(("dim", "dtype"), GRID, ids=str)
def test_dense_attention_of_every_kind(name: str, dim: int, dtype: str) -> None:
    given = dict(DENSE[name])
    if mask := given.get("mask"):
        given["mask"] = replace(mask, dtype=mask.dtype or dtype)
    check(AttentionCase(dense(dim, dtype, **given), (2, 135, 150)), machine(80))


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize(("dim", "dtype"), GRID, ids=str)
def test_listed_attention_of_every_kind(name: str, dim: int, dtype: str) -> None:
    q_block, k_block, given, axes = LISTED[name]
    spec = listed(dense(dim, dtype, **given), q_block, k_block, *axes)
    check(AttentionCase(spec, (2, 135, 210)), machine(80))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [75, 80])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_schedule_gives_the_same(dtype: str, architecture: int) -> None:
    target = machine(architecture)
    for spec in (
        listed(dense(32, dtype, log_sum_exp=True), 128, 32, ONE, ALL, ONE),
        dense(32, dtype, after=0),
    ):
        for schedule in ATTENTION_SCHEDULES.legal(spec, target):
            check(AttentionCase(spec, (1, 130, 130), schedule), target)


def test_keys_that_no_row_lists_are_never_read() -> None:
    case = AttentionCase(listed(dense(32, "float32"), 20, 24, BY_HEAD, ALL, ONE), (1, 40, 90), share=0.4)
    arrays, program = operands(case)
    assert program is not None
    unseen = ~program.to_mask(40, 90).any(2).any(1)
    assert unseen.any()
    holes = {**arrays, **{name: arrays[name].masked_fill(unseen.unsqueeze(-1), torch.nan) for name in "kv"}}
    compare(case, launched(case, holes, machine(80)), arrays, program)


def test_entries_out_of_range_read_no_other_memory() -> None:
    """Such a list means nothing, but all that is read are keys of the sequence; the emulation checks each access."""
    case = AttentionCase(listed(dense(32, "float32"), 20, 24, BY_HEAD, ALL, ONE), (2, 40, 90))
    arrays, _ = operands(case)
    wild = torch.tensor([-1, -(2**31), 2**31 - 1, 91, 10**6], dtype=torch.int32)
    for name in ("full_entries", "partial_entries", "column_entries", "pattern_numbers"):
        at = torch.rand(arrays[name].shape) < 0.5
        arrays[name][at] = wild[torch.randint(0, 5, (int(at.sum()),))]
    arrays["full_counts"][..., 0] = 2**31 - 1
    assert launched(case, arrays, machine(80)).isfinite().all()


def test_a_query_without_keys_gives_zero() -> None:
    case = AttentionCase(dense(32, "float16", mask=KEYS), (2, 5, 70))
    arrays, _ = operands(case)
    arrays["mask"][0] = False
    found = launched(case, arrays, machine(80))
    assert (found[0] == 0).all()
    compare(case, found, arrays, None)


def test_schedules_that_do_not_fit_are_refused() -> None:
    spec = dense(128, "float16")
    with pytest.raises(ScheduleError, match="at most 65536 bytes of shared memory"):
        cuda_attention(spec, machine(75), CudaAttentionSchedule(128, 64, 8, 2))
    with pytest.raises(ScheduleError, match="expected whole tiles"):
        cuda_attention(spec, machine(80), CudaAttentionSchedule(40, 64, 8, 2))
    with pytest.raises(BuildError, match="bfloat16"):
        cuda_block_attention(listed(dense(32, "bfloat16"), 64, 64, ONE, None, None), machine(75))
