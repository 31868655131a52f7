"""A machine on which the engine of the budget becomes slower and faster, and ours hardly: fits still end well."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instant import FormulaFitter, make_fitter, make_free_evaluator
from torch import nn

from l0compile.measurement import Measurement, Protocol, Ratio, Workload
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.engines import CHOSEN, DENSE, ROW_OF
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.constraints.yardstick import Yardstick
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, LOWEST, ROUNDS, Fitter
from l0compile.studies.result import Latency
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space

OTHER = ROW_OF["openvino-int8"]
JOB: Job = ("openvino-int8", Workload("nowhere:at_all", {}))
SHARE = 0.7
TYPICAL_MS = 6.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit")


@pytest.fixture(scope="module")
def evaluator(space: Space, folder: Path) -> Evaluator:
    return make_free_evaluator(space, folder)


def took(ms: float) -> Measurement:
    return Measurement.from_blocks([[ms] * 3] * 6, Protocol())


@dataclasses.dataclass
class Drifting:
    """Processes in which the other engine takes another time in every measurement; ours drift by a fifth of that."""

    drifts: list[float]
    model_ms: float = 0.0
    dense_ms: float = 14.0
    measured: int = 0

    def measure(self, jobs: Mapping[str, Any], protocol: Protocol, **rest: Any) -> dict[str, Measurement]:
        drift = self.drifts[self.measured % len(self.drifts)]
        self.measured += 1
        own = 1 + (drift - 1) / 5
        ms = {OTHER: TYPICAL_MS * drift, DENSE: self.dense_ms * own, CHOSEN: self.model_ms * own}
        return {name: took(ms[name]) for name in jobs}


@dataclasses.dataclass
class DriftingFitter(FormulaFitter):
    """Times a formula on such a machine, through the budget's own measurement."""

    def time(self, model: nn.Module, band: tuple[float, float] | None = None) -> tuple[Latency, Ratio]:
        self.bench.stopwatch.model_ms = self.formula(self.planned.ms)  # type: ignore[attr-defined]
        self.timed.append("")
        return Fitter.time(self, model, band)


def fitter_on(machine: Drifting, evaluator: Evaluator, folder: Path, first: float) -> DriftingFitter:
    made = make_fitter(evaluator, folder)
    yardstick = Yardstick(("l0compile", JOB[1]))
    yardstick.add(took(TYPICAL_MS * first), took(machine.dense_ms * (1 + (first - 1) / 5)))
    budget = DeviceBudget(SHARE * TYPICAL_MS * first, SHARE, JOB, yardstick=yardstick)
    scale = machine.dense_ms / made.formula(made.dense_ms)
    load = budget.dense_load
    assert load is not None
    fitter = DriftingFitter(
        evaluator, made.bench, budget, [(made.dense_ms, load.value * budget.ms)], dense_ms=made.dense_ms,
        slope=made.slope * scale, rest=made.rest * scale,
    )  # fmt: skip
    fitter.bench.stopwatch = machine  # type: ignore[assignment]
    fitter.bench.candidate = lambda model: folder  # type: ignore[method-assign]
    fitter.bench.forget = lambda artifact: None  # type: ignore[method-assign]
    return fitter


@settings(max_examples=20)
@given(st.lists(st.floats(1.0, 1.5), min_size=9, max_size=9), st.floats(1.0, 1.5), st.floats(-1.0, 1.0))
def test_fits_do_not_follow_the_other_engine_from_minute_to_minute(
    evaluator: Evaluator, folder: Path, drifts: list[float], first: float, tilt: float
) -> None:
    machine = Drifting(drifts)
    fitter = fitter_on(machine, evaluator, folder, first)
    fitted = fitter.fit(Choices(tilt={"blocks": tilt}), fitter.budget.ms)
    assert LOWEST <= fitted.load <= HIGHEST and len(fitter.timed) <= ROUNDS, fitter.points
    # What it found is a model's own time over that of the engine in a typical minute so far.
    times = [first, *drifts[: machine.measured]]
    typical = median(TYPICAL_MS * drift / (1 + (drift - 1) / 5) for drift in times)
    true = fitter.formula(fitted.allocation.ms) / (SHARE * typical)
    assert fitted.load == pytest.approx(true, rel=0.03)
    # Loads of different minutes are in the order of the prices.
    known = sorted(fitter.measured.values(), key=lambda found: found.allocation.ms)
    assert [found.load for found in known] == sorted(found.load for found in known)


def test_a_load_gets_better_known_with_the_engine() -> None:
    yardstick = Yardstick(("l0compile", JOB[1]))
    for other, dense in ((9.0, 14.0), (6.0, 14.0), (6.3, 14.7)):
        yardstick.add(took(other), took(dense))
    yardstick.add(Measurement.failed("gone", Protocol()), took(14.0))
    assert yardstick.times().value == pytest.approx(6.0 / 14.0)
    assert yardstick.times().high == pytest.approx(9.0 / 14.0)
    load = DeviceBudget(4.2, 0.7, JOB, yardstick=yardstick).dense_load
    assert load is not None and load.value == pytest.approx(14.0 / 4.2) and load.low < load.value
    assert DeviceBudget(4.2, 0.7, JOB).dense_load is None
