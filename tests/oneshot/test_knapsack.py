"""The knapsack against every choice there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.oneshot.knapsack import Allocation, Bundle, Choice, Options, allocate

# Sums of such numbers are exact, so that a budget of just what a choice takes is one that it fits.
TIMES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 2048).map(lambda n: n / 1024))
UNIT = st.lists(st.tuples(st.floats(0.0, 10.0), TIMES), min_size=1, max_size=5).map(
    lambda pairs: Options(*(tuple(column) for column in zip(*pairs, strict=True)))
)
SINGLE = UNIT.map(Bundle.single)
# As heads and two projections: at most three cases, as many units in each.
BUNDLE = st.integers(1, 2).flatmap(
    lambda units: st.lists(st.tuples(*[UNIT] * units), min_size=1, max_size=3).map(
        lambda cases: Bundle(tuple(cases))
    )
)
BUNDLES = st.lists(st.one_of(SINGLE, BUNDLE), max_size=3)


def choices(bundle: Bundle) -> list[Choice]:
    return [
        Choice(case, options)
        for case, units in enumerate(bundle.cases)
        for options in itertools.product(*(range(len(unit.ms)) for unit in units))
    ]


def sums(bundles: list[Bundle], chosen: tuple[Choice, ...]) -> tuple[float, float]:
    pairs = [
        (unit, index)
        for bundle, choice in zip(bundles, chosen, strict=True)
        for unit, index in zip(bundle.cases[choice.case], choice.options, strict=True)
    ]
    return math.fsum(unit.loss[i] for unit, i in pairs), math.fsum(unit.ms[i] for unit, i in pairs)


def every(bundles: list[Bundle]) -> list[tuple[float, float]]:
    """(loss, time) of all choices."""
    return [sums(bundles, chosen) for chosen in itertools.product(*map(choices, bundles))]


def least(bundles: list[Bundle]) -> float:
    return min(ms for _, ms in every(bundles))


def most(bundles: list[Bundle]) -> float:
    return max(ms for _, ms in every(bundles))


def check(bundles: list[Bundle], budget: float, found: Allocation) -> None:
    best = min(loss for loss, ms in every(bundles) if ms <= budget)
    # Times are rounded: what is above the budget by less than that may be taken.
    loosely = min(loss for loss, ms in every(bundles) if ms <= budget * (1 + 1e-9))
    assert sums(bundles, found.choice) == pytest.approx((found.loss, found.ms))
    assert found.ms <= budget * (1 + 1e-9)
    assert found.bound <= best * (1 + 1e-9) + 1e-12
    assert loosely <= found.loss * (1 + 1e-9) + 1e-12
    # What the gap proves: no choice that fits is better by more than that.
    assert best >= found.loss * (1 - found.gap) * (1 - 1e-9) - 1e-12 and 0.0 <= found.gap <= 1.0


@given(BUNDLES, st.floats(0.0, 1.0), st.sampled_from([20, 1000]))
def test_choices_fit_and_the_bound_holds(bundles: list[Bundle], share: float, ticks: int) -> None:
    quickest = sum(bundle.least_ms for bundle in bundles)
    budget = quickest + share * (most(bundles) - quickest)
    if quickest <= budget:
        check(bundles, budget, allocate(bundles, budget, ticks))


@given(BUNDLES, st.integers(0, 8))
def test_whole_ticks_leave_no_gap(bundles: list[Bundle], budget: int) -> None:
    # Times that are whole ticks: rounding changes nothing.
    bundles = [
        Bundle(
            tuple(
                tuple(Options(unit.loss, tuple(float(round(4 * ms)) for ms in unit.ms)) for unit in units)
                for units in bundle.cases
            )
        )
        for bundle in bundles
    ]
    if least(bundles) > budget:
        with pytest.raises(ConfigError, match=r"no choice of blocks takes .* or less: the quickest takes"):
            allocate(bundles, float(budget), ticks=max(1, budget))
        return
    found = allocate(bundles, float(budget), ticks=max(1, budget))
    assert found.loss == pytest.approx(min(loss for loss, ms in every(bundles) if ms <= budget))
    check(bundles, float(budget), found)


def test_nothing_is_free_without_time() -> None:
    unit = Bundle.single(Options((0.0, 1.0, 2.0), (1.0, 0.0, 0.0)))
    assert allocate([unit], 0.0) == Allocation((Choice(0, (1,)),), 1.0, 0.0, 1.0)


@given(BUNDLES, st.floats(1e-6, 1.0))
def test_a_budget_below_the_quickest_is_an_error(bundles: list[Bundle], missing: float) -> None:
    with pytest.raises(ConfigError, match="raise the latency budget"):
        allocate(bundles, least(bundles) - missing)


@given(BUNDLES)
def test_where_everything_fits_the_loss_is_the_least(bundles: list[Bundle]) -> None:
    found = allocate(bundles, most(bundles) + 1.0)
    assert found.loss == pytest.approx(min(loss for loss, _ in every(bundles))) and found.gap == 0.0


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
    found = allocate([Bundle.single(unit) for unit in units], budget)
    assert found.gap <= 0.005 and found.ms <= budget
    assert found.loss > sum(min(unit.loss) for unit in units)
