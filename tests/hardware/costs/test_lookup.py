"""What is known of a target: measured where it was, predicted where not, the best schedule where one is clear."""

from dataclasses import replace
from pathlib import Path

import pytest

from l0compile.hardware.costs import (
    CostKey,
    CostPlace,
    CostRecord,
    Costs,
    Database,
    KernelWorkload,
    Machine,
    ScheduleData,
)
from l0compile.hardware.targets import Core, load_target
from l0compile.kernels.costs import costs_of, counted_kernels, place_of

MACHINE, KERNELS = Machine(2, 64, 16, 1 << 20), counted_kernels(Core())
HERE = CostPlace("cpu", 2, next(kernel.versions for kernel in KERNELS if kernel.op == "linear"))
DEFAULT, OTHER, THIRD = ((("rows", 4),), (("rows", 2),), (("rows", 1),))
WORK = KernelWorkload("linear", (384, 384), (4, 1), 0.2, 128)


def record(
    work: KernelWorkload, ms: float | None, schedule: ScheduleData = DEFAULT, at: CostPlace = HERE
) -> CostRecord:
    return CostRecord(CostKey(work, at), schedule, ms, ms, ms, error="" if ms else "crashed")


def test_the_best_schedule_measured_is_the_estimate() -> None:
    costs = Costs([record(WORK, 2.0), record(WORK, 1.0, OTHER), record(WORK, None, THIRD)], MACHINE, KERNELS)
    found = costs.estimate(WORK)
    assert found is not None and (found.ms, found.source) == (1.0, "measured")
    same_registers, close = replace(WORK, tokens=120), replace(WORK, density=0.204)
    assert costs.estimate(same_registers) == found
    estimate = costs.estimate(close)
    assert estimate is not None and estimate.ms == pytest.approx(1.02) and estimate.source == "measured"


def test_what_was_not_measured_is_predicted() -> None:
    costs = Costs([record(WORK, 1.0), record(replace(WORK, density=0.5), 2.4)], MACHINE, KERNELS)
    between = costs.estimate(replace(WORK, density=0.3))
    assert between is not None and 1.0 < between.ms < 2.4 and between.source == "predicted"
    assert costs.estimate(KernelWorkload("linear", (384, 384), None, 1.0, 128)) is None


def test_times_of_other_code_only_predict() -> None:
    old = replace(HERE, versions="apache-tvm 0; linear 000")
    costs = Costs([record(WORK, 1.0, OTHER, old), record(WORK, 2.0, DEFAULT, old)], MACHINE, KERNELS)
    found = costs.estimate(WORK)
    assert found is not None and found.source == "predicted" and found.ms == pytest.approx(1.0, rel=0.1)
    assert costs.schedule(WORK, DEFAULT) == DEFAULT


def test_a_schedule_must_be_clearly_better_than_the_default() -> None:
    assert (
        Costs([record(WORK, 1.0), record(WORK, 0.9, OTHER)], MACHINE, KERNELS).schedule(WORK, DEFAULT)
        == OTHER
    )
    assert (
        Costs([record(WORK, 1.0), record(WORK, 0.99, OTHER)], MACHINE, KERNELS).schedule(WORK, DEFAULT)
        == DEFAULT
    )
    assert Costs([record(WORK, 1.0, OTHER)], MACHINE, KERNELS).schedule(WORK, DEFAULT) == OTHER
    assert Costs([], MACHINE, KERNELS).schedule(WORK, DEFAULT) == DEFAULT


def test_the_nearest_density_tells() -> None:
    sparse = replace(WORK, density=0.05)
    costs = Costs(
        [record(WORK, 1.0), record(WORK, 0.5, OTHER), record(sparse, 0.1), record(sparse, 0.05, THIRD)],
        MACHINE,
        KERNELS,
    )
    assert costs.schedule(replace(WORK, density=0.15), DEFAULT) == OTHER
    assert costs.schedule(replace(WORK, density=0.01), DEFAULT) == THIRD
    assert costs.schedule(replace(WORK, tokens=512), DEFAULT) == DEFAULT


def test_the_users_records_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = load_target("native")
    here = place_of(target, "linear")
    assert here is not None
    monkeypatch.setenv("L0COMPILE_COSTS", str(tmp_path / "db"))
    odd = replace(WORK, shape=(7, 11))
    with Database(tmp_path / "db") as database:
        database.add([record(odd, 1.25, at=here), record(odd, 0.1, at=replace(here, device="another"))])
    costs = costs_of(target)
    assert costs is not None
    found = costs.estimate(odd)
    assert found is not None and (found.ms, found.source) == (1.25, "measured")
    (tmp_path / "bad").write_text("no database" * 1000)
    monkeypatch.setenv("L0COMPILE_COSTS", str(tmp_path / "bad"))
    costs_of(target)
    assert "measured costs are left out" in caplog.text


def test_switched_off_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_COSTS", "off")
    assert costs_of(load_target("native")) is None
    monkeypatch.delenv("L0COMPILE_COSTS")
    assert costs_of(load_target("aarch64-neon")) is None
