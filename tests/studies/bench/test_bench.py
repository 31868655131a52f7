"""Comparisons: as long as their intervals need, models beside the budget's reference, and how long all will take."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_task

from l0compile.errors import MissingDependency
from l0compile.measurement import Measurement, Protocol, Workload
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import CHOSEN, DENSE, ROW_OF
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.budget import budget_of, check_reference
from l0compile.studies.space.space import LatencyBudget, Space
from l0compile.studies.study.progress import Silent

PROTOCOL = Protocol(blocks=10)
JOB = ("l0compile", Workload("nowhere:at_all", {}, artifact="there"))


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@dataclasses.dataclass
class Machine:
    """In place of processes: what each engine takes in block after block."""

    ms: Mapping[str, Callable[[int], float]]
    running: int = 0
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def start_seconds(self) -> float:
        return 2.0

    def measure(
        self, jobs: Mapping[str, Any], protocol: Protocol, *, enough: Any, until: float | None
    ) -> dict[str, Measurement]:
        self.asked = jobs
        found: dict[str, Measurement] = {}
        for blocks in range(5, protocol.blocks + 1):
            found = {
                name: Measurement.from_blocks([[self.ms[name](n)] * 3 for n in range(blocks)], protocol)
                for name in jobs
            }
            if enough(found) or (until is not None and time.monotonic() > until):
                break
        return found


def steady(ms: float) -> Callable[[int], float]:
    return lambda block: ms


def waves(ms: float, size: float) -> Callable[[int], float]:
    return lambda block: ms * (1 + size * ((block % 4) - 1.5))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tiny_task.TinyTask(tiny_task.TinyOptions()), tmp_path)


def compared(
    bench: Bench, machine: Machine, notes: Notes | None = None, **rest: Any
) -> dict[str, Measurement]:
    bench.stopwatch = machine  # type: ignore[assignment]
    jobs = dict.fromkeys(machine.ms, JOB)
    watched = ("reference", "model")
    return bench.compare(
        jobs, {"gone": "no such engine"}, PROTOCOL, watched, told=notes.note if notes else None, **rest
    )


def test_a_quiet_comparison_is_a_short_one(bench: Bench) -> None:
    notes = Notes()
    machine = Machine({"reference": steady(2.0), "model": steady(1.0), "other": waves(5.0, 0.4)})
    found = compared(bench, machine, notes, width=0.02)
    assert len(found["model"].calls) == 6 and not notes.texts
    assert found["gone"].error == "no such engine"


def test_what_slows_all_engines_alike_does_not_lengthen_it(bench: Bench) -> None:
    machine = Machine({"reference": waves(2.0, 0.3), "model": waves(1.0, 0.3)})
    assert len(compared(bench, machine, width=0.02)["model"].calls) == 6


def test_a_disturbed_one_goes_on_up_to_its_end_and_says_so(bench: Bench) -> None:
    notes, machine = Notes(), Machine({"reference": steady(2.0), "model": waves(1.0, 0.4)})
    assert len(compared(bench, machine, notes, width=0.02)["model"].calls) == 30
    assert notes.texts == ["  something else uses this machine: measuring for longer"]
    assert len(compared(bench, machine, width=0.02, turns=1)["model"].calls) == 10
    assert len(compared(bench, machine, width=0.02, until=0.0)["model"].calls) == 5


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.3])
def test_a_load_is_the_same_however_fast_the_machine_is_at_the_time(bench: Bench, factor: float) -> None:
    budget = DeviceBudget(5.0, 0.5, ("onnxruntime", JOB[1]))
    ms = {ROW_OF["onnxruntime"]: steady(10.0 * factor), CHOSEN: steady(4.0 * factor)}
    bench.stopwatch = Machine(ms)  # type: ignore[assignment]
    found, load = budget.measure(bench, Path("model"))
    assert found.median_ms == pytest.approx(4.0 * factor)
    assert (load.value, load.low, load.high) == pytest.approx((0.8, 0.8, 0.8))
    # Milliseconds too: beside the dense model, which took 8 ms when they were set.
    bench.stopwatch = Machine({DENSE: steady(8.0 * factor), CHOSEN: steady(4.0 * factor)})  # type: ignore[assignment]
    assert DeviceBudget(5.0, None, JOB, 8.0).measure(bench, Path("model"))[1].value == pytest.approx(0.8)


def test_a_budget_in_milliseconds_is_held_against_the_dense_model(space: Space) -> None:
    def took(ms: float) -> Measurement:
        return Measurement.from_blocks([[ms] * 3] * 5, PROTOCOL)

    milliseconds = dataclasses.replace(space, latency=LatencyBudget(None, 3.0))
    assert budget_of(milliseconds, {DENSE: took(4.0)}, {DENSE: JOB}) == DeviceBudget(3.0, None, JOB, 4.0)


def test_what_is_left_to_do_is_expected_to_take_its_time(bench: Bench) -> None:
    bench.stopwatch = Machine({}, running=2)  # type: ignore[assignment]
    bench.build_s = 10.0
    few, many = bench.final_seconds(2, 0.5), bench.final_seconds(4, 0.5)
    assert 22.0 < few < 40.0 and many > few + 2 * 2.0
    (bench.folder / "dense.onnx").touch()
    assert bench.final_seconds(2, 0.5) == pytest.approx(few - 10.0)


def test_packages_of_the_reference_are_looked_for(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else object())
    relative = dataclasses.replace(space, latency=LatencyBudget(0.5, None, "openvino"))
    with pytest.raises(MissingDependency, match=r"'openvino' needs onnxscript; run: pip install onnxscript"):
        check_reference(relative)
    check_reference(dataclasses.replace(space, latency=LatencyBudget(0.5, None, "l0compile")))
    check_reference(dataclasses.replace(space, latency=LatencyBudget(None, 5.0, "openvino")))
