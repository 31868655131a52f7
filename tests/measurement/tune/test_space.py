"""Which schedules are tried."""

import pytest

from l0compile.hardware.costs import Work
from l0compile.hardware.targets import load_target
from l0compile.kernels.cpu.legal_schedules import legal_schedules
from l0compile.kernels.cpu.linear import default_schedule
from l0compile.kernels.spec import LinearSpec
from l0compile.kernels.token_tile import token_tile
from l0compile.kernels.work import schedule_data, schedule_from, spec_of
from l0compile.measurement.tune.space import candidates

TILE = token_tile(load_target("x86-64-avx512"))


@pytest.mark.parametrize("block", [None, (1, 1), (4, 1), (8, 8), (32, 32)])
def test_the_default_and_the_promising_are_tried(block: tuple[int, int] | None) -> None:
    work = Work("linear", (64, 64), block, 0.5, 128)
    spec = spec_of(work, TILE)
    assert isinstance(spec, LinearSpec)
    tried = candidates(work, TILE)
    assert tried[0] == default_schedule(spec, TILE) and set(tried) <= set(legal_schedules(spec, TILE))
    assert 1 < len(set(tried)) == len(tried) <= 40
    assert all(schedule_from(schedule_data(schedule)) == schedule for schedule in tried)


def test_rows_that_would_wait_for_loads_are_not() -> None:
    tried = candidates(Work("linear", (64, 64), (4, 1), 0.5, 128), TILE)
    assert all(schedule is not None and schedule.rows >= 4 for schedule in tried)


def test_other_kernels_have_one_way() -> None:
    assert candidates(Work("norm", (64,), tokens=8, variant="layer"), TILE) == (None,)
