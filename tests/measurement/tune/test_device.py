"""Kernels timed on devices behind a tracker: their costs have a place of their own, and a lost device is told."""

from pathlib import Path

import pytest

from l0compile.errors import DeviceError
from l0compile.hardware.costs import Database, KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costs_of, place_of
from l0compile.measurement.device import device_and_target
from l0compile.measurement.tune import TuningPlan, TuningProgress, tune
from tests.measurement.rpc_device import kill, running_devices

pytest.importorskip("tornado", reason="TVM's tracker needs tornado (extra 'workers')")

QUICK = TuningPlan(seconds=0.001, schedules=2)
LAYER = KernelWorkload("linear", (64, 32), (4, 1), 0.5, 64)
OTHERS = [
    KernelWorkload("norm", (64,), tokens=128, variant="rms"),
    KernelWorkload("linear", (32, 64), None, 1.0, 64),
]


@pytest.mark.slow
def test_kernels_are_timed_there_and_known_by_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "costs.db"
    monkeypatch.setenv("L0COMPILE_COSTS", str(path))
    with running_devices(2) as (url, _), Database(path) as database:
        device, target = device_and_target(f"{url}?target=native")
        with_unknown = [LAYER, *OTHERS, KernelWorkload("norm", (1 << 50,), tokens=1, variant="rms")]
        assert tune(with_unknown, target, database, QUICK, device=device) == 6
        assert tune(with_unknown, target, database, QUICK, device=device) == 0
        records = database.records()
        assert {record.key.place.device.partition(";")[0] for record in records} == {"device here"}
        assert [record.key.work.shape for record in records if record.ms is None] == [(1 << 50,)]
    known = costs_of(target)
    assert known is not None
    found = known.estimate(LAYER)
    assert found is not None and found.source == "measured" and found.ms > 0.0


def test_costs_of_a_device_are_not_those_of_this_machine() -> None:
    _, there = device_and_target("rpc://box:9190/pi?target=aarch64-neon")
    here = place_of(load_target("native"), "linear")
    found = place_of(there, "linear")
    assert here is not None and found is not None
    assert found.device == f"device pi; {''.join((there.cpu, *there.attrs))}"
    assert place_of(load_target("aarch64-neon"), "linear") is None or here.device.startswith("aarch64")


@pytest.mark.slow
def test_a_device_that_dies_is_told_and_what_it_measured_is_kept(tmp_path: Path) -> None:
    with running_devices(1) as (url, servers), Database(tmp_path / "db") as database:
        device, target = device_and_target(url)
        tune([LAYER], target, database, QUICK, device=device)
        kept = len(database)

        def dies(step: TuningProgress) -> None:
            if step.phase == "timing kernels":
                kill(servers[0])

        with pytest.raises(DeviceError, match="tune: no device is left"):
            tune([*OTHERS, LAYER], target, database, QUICK, dies, device=device)
        assert len(database) == kept > 0
