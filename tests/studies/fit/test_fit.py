"""Fitting to a budget, with a formula in place of the measurement."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instant import FormulaFitter, make_evaluator, make_fitter, make_free_evaluator

from l0compile.errors import BuildError, InfeasibleError
from l0compile.measurement import Measurement, Protocol, Workload
from l0compile.studies.bench.engines import ROW_OF
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.fit import HIGHEST, LOWEST, ROUNDS
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fit")


@pytest.fixture(scope="module")
def evaluator(space: Space, folder: Path) -> Evaluator:
    return make_free_evaluator(space, folder)


def check(fitter: FormulaFitter) -> None:
    assert len(fitter.timed) == len(set(fitter.timed)) == len(fitter.points) - 1
    assert fitter.timed == list(fitter.measured)


@settings(max_examples=30)
@given(
    st.floats(1.0, 1.7),
    st.floats(0.05, 0.5),
    st.floats(0.0, 0.01),
    st.floats(0.45, 0.95),
    st.floats(-1.0, 1.0),
)
def test_budgets_are_met_closely_in_a_few_rounds(
    evaluator: Evaluator, folder: Path, slope: float, rest: float, noise: float, share: float, tilt: float
) -> None:
    fitter = make_fitter(evaluator, folder, share, slope, rest, noise)
    fitted = fitter.fit(Choices(tilt={"blocks": tilt}), fitter.budget.ms)
    assert LOWEST <= fitted.load <= HIGHEST, fitter.points
    assert len(fitter.timed) <= ROUNDS
    assert fitted.latency.median_ms == pytest.approx(fitted.load * fitter.budget.ms)
    check(fitter)


def test_what_one_fit_learned_serves_the_next(evaluator: Evaluator, folder: Path) -> None:
    fitter = make_fitter(evaluator, folder, 0.6, slope=1.4, rest=0.25, noise=0.005)
    first = fitter.fit(Choices(), fitter.budget.ms)
    before = len(fitter.timed)
    second = fitter.fit(Choices(tilt={"blocks": 0.8}), fitter.budget.ms)
    assert len(fitter.timed) - before <= 2
    assert second.predicted_ms == pytest.approx(second.load * fitter.budget.ms, rel=0.04)
    assert LOWEST <= first.load <= HIGHEST and LOWEST <= second.load <= HIGHEST
    check(fitter)


@settings(max_examples=20)
@given(st.floats(0.3, 0.95), st.floats(0.02, 0.3), st.floats(1.0, 1.7))
def test_one_that_is_quick_enough_is_preferred_to_one_that_is_not(
    evaluator: Evaluator, folder: Path, share: float, noise: float, slope: float
) -> None:
    fitter = make_fitter(evaluator, folder, share, slope, noise=noise)
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    loads = [other.load for other in fitter.measured.values()]
    quick = [load for load in loads if load <= HIGHEST]
    assert fitted.load == (max(quick) if quick else min(loads))
    check(fitter)


def test_nothing_is_measured_twice(evaluator: Evaluator, folder: Path) -> None:
    fitter = make_fitter(evaluator, folder)
    for _ in range(3):
        last = fitter.fit(Choices(), fitter.budget.ms)
        count = len(fitter.timed)
    again = fitter.fit(Choices(), fitter.budget.ms)
    assert again.structure == last.structure and len(fitter.timed) == count
    check(fitter)


@pytest.mark.parametrize("rest", [0.15, 0.3])
@pytest.mark.parametrize("share", [0.5, 0.6])
def test_a_machine_that_is_not_what_it_was_takes_few_rounds_more(
    evaluator: Evaluator, folder: Path, share: float, rest: float
) -> None:
    fitter = make_fitter(evaluator, folder, share)
    for tilt in (0.0, 0.5, 1.0):
        fitter.fit(Choices(tilt={"blocks": tilt}), fitter.budget.ms)
    fitter.measured.clear()
    fitter.timed.clear()
    fitter.rest = rest
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    assert LOWEST <= fitted.load <= HIGHEST and len(fitter.timed) <= 3


@pytest.mark.parametrize("share", [1.0, 1.2, 50.0])
def test_a_budget_for_everything_keeps_everything(evaluator: Evaluator, folder: Path, share: float) -> None:
    fitter = make_fitter(evaluator, folder, share)
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    dense = fitted.allocation.ms == pytest.approx(evaluator.menu.dense_ms)
    assert dense if share > 1.1 else LOWEST <= fitted.load <= HIGHEST
    assert len(fitter.timed) <= ROUNDS


def test_the_budget_of_a_sweep_is_another_one(evaluator: Evaluator, folder: Path) -> None:
    fitter = make_fitter(evaluator, folder, 0.6)
    for ratio in (0.8, 1.0, 1.3):
        fitted = fitter.fit(Choices(), ratio * fitter.budget.ms)
        assert LOWEST * ratio <= fitted.load <= HIGHEST * ratio
    check(fitter)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.15])
def test_what_no_model_can_be_is_the_quickest_one(evaluator: Evaluator, folder: Path, share: float) -> None:
    # A fifth of the time is no layer's.
    fitter = make_fitter(evaluator, folder, share, slope=1.0, rest=0.25)
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    assert fitted.load > 1.0 and fitted.load == min(other.load for other in fitter.measured.values())
    assert fitted.allocation.ms <= 0.02 * evaluator.menu.dense_ms
    check(fitter)


def test_ranges_that_leave_too_much_are_an_error(space: Space, tmp_path: Path) -> None:
    blocks = dataclasses.replace(space.gates[2], density=(0.5, 0.8))
    bounded = make_evaluator(dataclasses.replace(space, gates=(*space.gates[:2], blocks)), tmp_path)
    fitter = make_fitter(bounded, tmp_path, 0.2)
    with pytest.raises(InfeasibleError, match="no choice of blocks takes"):
        fitter.fit(Choices(), fitter.budget.ms)
    assert fitter.timed == []


def test_a_model_that_cannot_be_built_is_an_error(evaluator: Evaluator, folder: Path) -> None:
    fitter = make_fitter(evaluator, folder)
    fitter.error = BuildError("no kernel for this")
    with pytest.raises(BuildError, match="no kernel for this"):
        fitter.fit(Choices(), fitter.budget.ms)
    fitter.error = None
    assert fitter.fit(Choices(), fitter.budget.ms).load <= HIGHEST


def test_what_was_measured_beside_the_reference_moves_with_it() -> None:
    def at(ms: float) -> Measurement:
        return Measurement.from_blocks([[ms] * 3] * 5, Protocol())

    workload = Workload("nowhere:at_all", {})
    budget = DeviceBudget(5.0, 0.5, ("onnxruntime", workload))
    # The reference took 10 ms when the budget was set; while this was measured everything took twice as long.
    assert budget.scaled(at(30.0), {ROW_OF["onnxruntime"]: at(20.0)}) == pytest.approx(15.0)
    assert DeviceBudget(5.0).scaled(at(30.0), {}) == 30.0


@dataclasses.dataclass
class Stepped(FormulaFitter):
    """A machine on which a model below some price takes next to nothing: its layers are all gone, or on one core."""

    step: float = 0.3

    def formula(self, price: float) -> float:
        quick = price < self.step * self.dense_ms
        return 0.1 * self.dense_ms if quick else super().formula(price)


@settings(max_examples=20)
@given(st.floats(0.1, 0.35), st.floats(0.45, 0.8), st.floats(0.3, 3.0))
def test_between_a_plan_that_is_too_quick_and_one_that_is_too_slow_others_are_tried(
    evaluator: Evaluator, folder: Path, step: float, share: float, wrong: float
) -> None:
    made = make_fitter(evaluator, folder, share, slope=1.2, rest=0.15)
    fitter = Stepped(
        made.evaluator, made.bench, made.budget, made.points, dense_ms=made.dense_ms, slope=1.2, rest=0.15, step=step
    )  # fmt: skip
    # What was known of prices is off by any factor.
    fitter.points = [(price, wrong * ms) for price, ms in fitter.points]
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    best = fitter.formula(step * fitter.dense_ms) / fitter.budget.ms
    assert fitted.load <= HIGHEST
    assert fitted.load >= 0.85 or best > HIGHEST, [f.load for f in fitter.measured.values()]


def test_what_was_measured_for_the_same_choices_is_not_built_again(
    evaluator: Evaluator, folder: Path
) -> None:
    fitter = make_fitter(evaluator, folder, 0.6)
    first = fitter.fit(Choices(), 0.9 * fitter.budget.ms)
    count = len(fitter.timed)
    near = fitter.fit(Choices(), fitter.budget.ms, band=(0.85, HIGHEST))
    assert near.structure == first.structure and len(fitter.timed) == count


def test_without_time_there_is_one_model_more_only_while_none_is_quick_enough(
    evaluator: Evaluator, folder: Path
) -> None:
    fitter = make_fitter(evaluator, folder, 0.5)
    price, ms = fitter.points[0]
    fitter.points = [(price, 0.4 * ms)]  # looks as if everything were quick
    fitted = fitter.fit(Choices(), fitter.budget.ms, until=0.0)
    assert len(fitter.timed) <= 2 and (len(fitter.timed) == 1 or fitted.load < max(
        known.load for known in fitter.measured.values()
    ))  # fmt: skip


@settings(max_examples=20)
@given(st.floats(2.0, 8.0), st.floats(0.35, 0.6), st.floats(1.0, 1.6))
def test_a_dense_model_that_was_disturbed_misleads_for_a_few_rounds_only(
    evaluator: Evaluator, folder: Path, factor: float, share: float, slope: float
) -> None:
    fitter = make_fitter(evaluator, folder, share, slope)
    price, ms = fitter.points[0]
    fitter.points[0] = (price, factor * ms)
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    assert 0.85 <= fitted.load <= HIGHEST, fitter.points
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    assert LOWEST <= fitted.load <= HIGHEST, fitter.points
