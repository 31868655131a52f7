"""The tuner on this machine: times are remembered, failures too, and nothing is measured twice."""

from pathlib import Path

import pytest

from l0compile.hardware.costs import Database, KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.kernels.token_tile import token_tile
from l0compile.measurement.tune import TuningPlan, TuningProgress, tune
from l0compile.measurement.tune.libraries import Libraries

TARGET = load_target("native")
QUICK = TuningPlan(seconds=0.001, schedules=3)


def test_measures_what_is_missing_and_records_what_fails(tmp_path: Path) -> None:
    layer = KernelWorkload("linear", (16, 8), (4, 1), 0.5, 64)
    too_large = KernelWorkload(
        "norm", (1 << 50,), tokens=1, variant="rms"
    )  # its operands do not fit any memory
    steps: list[TuningProgress] = []
    with Database(tmp_path / "db") as database:
        assert tune([layer, too_large, layer], TARGET, database, QUICK, steps.append) == 4
        records = database.records()
        failed = [record for record in records if record.ms is None]
        assert [record.key.work for record in failed] == [too_large] and "rror" in failed[0].error
        assert len({record.schedule for record in records if record.key.work == layer}) == 3
        timed = [record for record in records if record.ms]
        assert all((r.low_ms or 0) <= (r.ms or 0) <= (r.high_ms or 0) and r.calls and r.date for r in timed)
        done = [step.done for step in steps]
        assert done == sorted(done) and done[-1] == steps[-1].total == 2
        assert tune([layer, too_large], TARGET, database, QUICK) == 0


@pytest.mark.slow
def test_a_build_over_its_time_limit_is_a_failure(tmp_path: Path) -> None:
    libraries = Libraries(tmp_path, TARGET, token_tile(TARGET), limit_s=0.001)
    variant = (KernelWorkload("norm", (8,), tokens=64, variant="layer"), None)
    assert libraries.failure(variant) == "not built"
    libraries.build([variant])
    libraries.close()
    assert "no answer within 0.001 s" in (libraries.failure(variant) or "")
