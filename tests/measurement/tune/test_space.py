"""Which schedules are tried."""

import pytest

from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costed_kernel, spec_of
from l0compile.kernels.cpu.linear.schedules import default_schedule, legal_schedules
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.definition import schedule_data
from l0compile.kernels.token_tile import token_tile
from l0compile.measurement.tune.space import candidates

TILE = token_tile(load_target("x86-64-avx512"))


@pytest.mark.parametrize("block", [None, (1, 1), (4, 1), (8, 8), (32, 32)])
def test_the_default_and_the_promising_are_tried(block: tuple[int, int] | None) -> None:
    work = KernelWorkload("linear", (64, 64), block, 0.5, 128)
    spec = spec_of(work, TILE)
    assert isinstance(spec, LinearSpec)
    tried = candidates(work, TILE)
    assert tried[0] == default_schedule(spec, TILE) and set(tried) <= set(legal_schedules(spec, TILE))
    assert 1 < len(set(tried)) == len(tried) <= 40
    assert all(
        costed_kernel("linear").schedule_from(schedule_data(schedule)) == schedule for schedule in tried
    )


def test_rows_that_would_wait_for_loads_are_not() -> None:
    tried = candidates(KernelWorkload("linear", (64, 64), (4, 1), 0.5, 128), TILE)
    assert all(schedule is not None and schedule.rows >= 4 for schedule in tried)


def test_other_kernels_have_one_way() -> None:
    assert candidates(KernelWorkload("norm", (64,), tokens=8, variant="layer"), TILE) == (None,)
