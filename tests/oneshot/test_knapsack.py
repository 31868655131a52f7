"""The knapsack against every choice there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.oneshot.knapsack import Allocation, Options, allocate

# Sums of such numbers are exact, so that a budget of just what a choice takes is one that it fits.
TIMES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 2048).map(lambda n: n / 1024))
UNIT = st.lists(st.tuples(st.floats(0.0, 10.0), TIMES), min_size=1, max_size=5).map(
    lambda pairs: Options(*(tuple(column) for column in zip(*pairs, strict=True)))
)
UNITS = st.lists(UNIT, max_size=4)


def sums(units: list[Options], choice: tuple[int, ...]) -> tuple[float, float]:
    chosen = list(zip(units, choice, strict=True))
    return math.fsum(unit.loss[i] for unit, i in chosen), math.fsum(unit.ms[i] for unit, i in chosen)


def every(units: list[Options]) -> list[tuple[float, float]]:
    """(loss, time) of all choices."""
    return [sums(units, choice) for choice in itertools.product(*(range(len(unit.ms)) for unit in units))]


def check(units: list[Options], budget: float, found: Allocation) -> None:
    best = min(loss for loss, ms in every(units) if ms <= budget)
    # Times are rounded: what is above the budget by less than that may be taken.
    loosely = min(loss for loss, ms in every(units) if ms <= budget * (1 + 1e-9))
    assert sums(units, found.choice) == pytest.approx((found.loss, found.ms))
    assert found.ms <= budget * (1 + 1e-9)
    assert found.bound <= best * (1 + 1e-9) + 1e-12
    assert loosely <= found.loss * (1 + 1e-9) + 1e-12
    # What the gap proves: no choice that fits is better by more than that.
    assert best >= found.loss * (1 - found.gap) * (1 - 1e-9) - 1e-12 and 0.0 <= found.gap <= 1.0


@given(UNITS, st.floats(0.0, 1.0), st.sampled_from([20, 1000]))
def test_choices_fit_and_the_bound_holds(units: list[Options], share: float, ticks: int) -> None:
    least, most = (sum(pick(unit.ms) for unit in units) for pick in (min, max))
    budget = least + share * (most - least)
    if sum(min(unit.ms) for unit in units) <= budget:
        check(units, budget, allocate(units, budget, ticks))


@given(UNITS, st.integers(0, 8))
def test_whole_ticks_leave_no_gap(units: list[Options], budget: int) -> None:
    # Times that are whole ticks: rounding changes nothing.
    units = [Options(unit.loss, tuple(float(round(4 * ms)) for ms in unit.ms)) for unit in units]
    if sum(min(unit.ms) for unit in units) > budget:
        with pytest.raises(ConfigError, match=r"no choice of blocks takes .* or less: the quickest takes"):
            allocate(units, float(budget), ticks=max(1, budget))
        return
    found = allocate(units, float(budget), ticks=max(1, budget))
    assert found.loss == pytest.approx(min(loss for loss, ms in every(units) if ms <= budget))
    check(units, float(budget), found)


def test_nothing_is_free_without_time() -> None:
    assert allocate([Options((0.0, 1.0, 2.0), (1.0, 0.0, 0.0))], 0.0) == Allocation((1,), 1.0, 0.0, 1.0)


@given(UNITS, st.floats(1e-6, 1.0))
def test_a_budget_below_the_quickest_is_an_error(units: list[Options], missing: float) -> None:
    budget = sum(min(unit.ms) for unit in units) - missing
    with pytest.raises(ConfigError, match="raise the latency budget"):
        allocate(units, budget)


@given(UNITS)
def test_where_everything_fits_the_loss_is_the_least(units: list[Options]) -> None:
    found = allocate(units, sum(max(unit.ms) for unit in units) + 1.0)
    assert found.loss == pytest.approx(sum(min(unit.loss) for unit in units)) and found.gap == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_model_of_72_layers_has_a_small_gap(share: float) -> None:
    chance = np.random.default_rng(0)
    units = []
    for _ in range(72):
        density = np.sort(chance.random(60))
        loss = chance.random() * (1 - density) ** 2 + 0.01 * chance.random(60)
        units.append(Options(tuple(loss.tolist()), tuple((density * chance.uniform(0.5, 2.0)).tolist())))
    least, most = (sum(pick(unit.ms) for unit in units) for pick in (min, max))
    budget = least + share * (most - least)
    found = allocate(units, budget)
    assert found.gap <= 0.005 and found.ms <= budget
    assert found.loss > sum(min(unit.loss) for unit in units)
