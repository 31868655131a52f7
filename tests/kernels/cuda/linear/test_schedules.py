"""Schedules of CUDA's linear kernels: which are legal, and what is refused."""

from dataclasses import replace

import pytest

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import Target, load_target
from l0compile.kernels.cuda.architecture import shared_bytes
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.schedules import (
    check_schedule,
    default_schedule,
    kernel_bytes,
    legal_schedules,
)
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule, CudaLinearSpec

SM80 = load_target("cuda-sm80")
SPEC = CudaLinearSpec(100, 90, 64, 64, "float16", True, False, False, "")


def gpu(cpu: str) -> Target:
    """The shipped target; "sm_90a" is an H100, whose code nothing else runs."""
    return replace(load_target(f"cuda-{cpu.removesuffix('a')}".replace("_", "")), cpu=cpu)


@pytest.mark.parametrize("cpu", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100"])
@pytest.mark.parametrize("few", [False, True])
def test_the_default_is_legal_on_every_architecture(cpu: str, few: bool) -> None:
    for rows, cols in ((0, 0), (16, 16), (48, 1), (64, 64), (128, 64), (256, 256)):
        for dtype in ("float16", "float32"):
            spec = replace(SPEC, rows=rows, cols=cols, dtype=dtype, few=few)
            legal = legal_schedules(spec, gpu(cpu))
            assert legal[0] == default_schedule(spec, gpu(cpu))
            for schedule in legal:
                check_schedule(spec, gpu(cpu), schedule)
                assert kernel_bytes(spec, schedule) <= shared_bytes(gpu(cpu)) and schedule.threads <= 1024


def test_a_schedule_may_be_chosen_and_there_are_many() -> None:
    assert len(legal_schedules(SPEC, SM80)) > 50
    assert len({schedule.splits for schedule in legal_schedules(replace(SPEC, few=True), SM80)}) > 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"outputs": 128}, "expected outputs of"),
        ({"tokens": 96}, "expected powers of two"),
        ({"stages": 1}, "at least 2 stages"),
        ({"splits": 0}, "1 split"),
        ({"token_warps": 16}, "expected 16 tokens and 16 outputs a warp"),
        ({"slices": 4}, "a depth of 32 bytes a slice"),
        ({"depth": 512}, "bytes of stages"),
    ],
)
def test_schedules_that_do_not_fit_are_refused(changed: dict[str, int], message: str) -> None:
    schedule = replace(CudaLinearSchedule(128, 64, 32, 4, 1, 4), **changed)
    with pytest.raises(ScheduleError, match=message):
        cuda_linear(SPEC, SM80, schedule)


def test_numbers_and_blocks_that_no_code_is_for_are_refused() -> None:
    for spec in (replace(SPEC, dtype="bfloat16"), replace(SPEC, dtype="float32", tf32=True)):
        with pytest.raises(BuildError, match="needs sm_80 or later, got sm_75"):
            cuda_linear(spec, gpu("sm_75"))
    with pytest.raises(BuildError, match="a multiple of 16, got 24x24"):
        cuda_linear(replace(SPEC, rows=24, cols=24), SM80)
    with pytest.raises(BuildError, match="expected sm_75 or later, got sm_61"):
        cuda_linear(SPEC, replace(SM80, cpu="sm_61"))
