"""The knapsack against every choice there is."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from l0compile.errors import InfeasibleError
from l0compile.studies.pruning.knapsack import Solution, solve_knapsack
from l0compile.studies.pruning.options import ChoiceGroup, GroupChoice, Options
from l0compile.studies.pruning.relaxed import Relaxed

# Sums of such numbers are exact, so that a budget of just what a choice takes is one that it fits.
TIMES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 2048).map(lambda n: n / 1024))
UNIT = st.lists(st.tuples(st.floats(0.0, 10.0), TIMES), min_size=1, max_size=5).map(
    lambda pairs: Options(*(tuple(column) for column in zip(*pairs, strict=True)))
)
SINGLE = UNIT.map(ChoiceGroup.single)
# As heads and two projections: at most three cases, as many units in each.
BUNDLE = st.integers(1, 2).flatmap(
    lambda units: st.lists(st.tuples(*[UNIT] * units), min_size=1, max_size=3).map(
        lambda cases: ChoiceGroup(tuple(cases))
    )
)
BUNDLES = st.lists(st.one_of(SINGLE, BUNDLE), max_size=3)


def choices(group: ChoiceGroup) -> list[GroupChoice]:
    return [
        GroupChoice(case, options)
        for case, units in enumerate(group.cases)
        for options in itertools.product(*(range(len(unit.ms)) for unit in units))
    ]


def sums(groups: list[ChoiceGroup], chosen: tuple[GroupChoice, ...]) -> tuple[float, float]:
    pairs = [
        (unit, index)
        for group, choice in zip(groups, chosen, strict=True)
        for unit, index in zip(group.cases[choice.case], choice.options, strict=True)
    ]
    return math.fsum(unit.loss[i] for unit, i in pairs), math.fsum(unit.ms[i] for unit, i in pairs)


def every(groups: list[ChoiceGroup]) -> list[tuple[float, float]]:
    """(loss, time) of all choices."""
    return [sums(groups, chosen) for chosen in itertools.product(*map(choices, groups))]


def least(groups: list[ChoiceGroup]) -> float:
    return min(ms for _, ms in every(groups))


def most(groups: list[ChoiceGroup]) -> float:
    return max(ms for _, ms in every(groups))


def check(groups: list[ChoiceGroup], budget: float, found: Solution) -> None:
    best = min(loss for loss, ms in every(groups) if ms <= budget)
    # Times are rounded: what is above the budget by less than that may be taken.
    loosely = min(loss for loss, ms in every(groups) if ms <= budget * (1 + 1e-9))
    assert sums(groups, found.choice) == pytest.approx((found.loss, found.ms))
    assert found.ms <= budget * (1 + 1e-9)
    assert found.bound <= best * (1 + 1e-9) + 1e-12
    assert loosely <= found.loss * (1 + 1e-9) + 1e-12
    # What the gap proves: no choice that fits is better by more than that.
    assert best >= found.loss * (1 - found.gap) * (1 - 1e-9) - 1e-12 and 0.0 <= found.gap <= 1.0


@given(BUNDLES, st.floats(0.0, 1.0), st.sampled_from([20, 1000]))
def test_choices_fit_and_the_bound_holds(groups: list[ChoiceGroup], share: float, steps: int) -> None:
    quickest = sum(group.least_ms for group in groups)
    budget = quickest + share * (most(groups) - quickest)
    if quickest <= budget:
        check(groups, budget, solve_knapsack(groups, budget, steps))


@given(BUNDLES, st.integers(0, 8))
def test_whole_steps_leave_no_gap(groups: list[ChoiceGroup], budget: int) -> None:
    # Times that are whole steps: rounding changes nothing.
    groups = [
        ChoiceGroup(
            tuple(
                tuple(Options(unit.loss, tuple(float(round(4 * ms)) for ms in unit.ms)) for unit in units)
                for units in group.cases
            )
        )
        for group in groups
    ]
    if least(groups) > budget:
        with pytest.raises(InfeasibleError, match=r"no choice of blocks takes .* or less: the fastest takes"):
            solve_knapsack(groups, float(budget), steps=max(1, budget))
        return
    found = solve_knapsack(groups, float(budget), steps=max(1, budget))
    assert found.loss == pytest.approx(min(loss for loss, ms in every(groups) if ms <= budget))
    check(groups, float(budget), found)


def test_nothing_is_free_without_time() -> None:
    unit = ChoiceGroup.single(Options((0.0, 1.0, 2.0), (1.0, 0.0, 0.0)))
    assert solve_knapsack([unit], 0.0) == Solution((GroupChoice(0, (1,)),), 1.0, 0.0, 1.0)


@given(BUNDLES, st.floats(1e-6, 1.0))
def test_a_budget_below_the_quickest_is_an_error(groups: list[ChoiceGroup], missing: float) -> None:
    with pytest.raises(InfeasibleError, match="raise the latency budget"):
        solve_knapsack(groups, least(groups) - missing)


@given(BUNDLES)
def test_where_everything_fits_the_loss_is_the_least(groups: list[ChoiceGroup]) -> None:
    found = solve_knapsack(groups, most(groups) + 1.0)
    assert found.loss == pytest.approx(min(loss for loss, _ in every(groups))) and found.gap == 0.0


@given(BUNDLES, st.floats(0.0, 1.0))
def test_what_is_ruled_out_is_in_no_better_choice(groups: list[ChoiceGroup], share: float) -> None:
    budget = least(groups) + share * (most(groups) - least(groups))
    assume(groups and budget > 0)
    kept = [[[list(range(len(unit.ms))) for unit in units] for units in item.cases] for item in groups]
    relaxed = Relaxed.of(groups, kept, budget)
    fitting = [
        (sums(groups, chosen)[0], chosen)
        for chosen in itertools.product(*map(choices, groups))
        if sums(groups, chosen)[1] <= budget
    ]
    best = min(loss for loss, _ in fitting)
    assert relaxed.bound <= best * (1 + 1e-9) + 1e-12
    for limit in (best, best + 0.5):
        needed = relaxed.needed(limit)
        for loss, chosen in fitting:
            if loss <= limit:
                for choice, lists in zip(chosen, needed, strict=True):
                    pairs = zip(choice.options, lists[choice.case], strict=True)
                    assert all(index in indices for index, indices in pairs)


def options(chance: np.random.Generator, scale: float = 1.0) -> Options:
    """Levels of a layer that takes up to ``scale`` times a few milliseconds."""
    density = np.sort(chance.random(60))
    loss = chance.random() * (1 - density) ** 2 + 0.01 * chance.random(60)
    return Options(tuple(loss.tolist()), tuple((scale * density * chance.uniform(0.5, 2.0)).tolist()))


def attention(chance: np.random.Generator, heads: int) -> ChoiceGroup:
    """Heads and four projections, which are the quicker the fewer are left."""
    shares = [(heads - closed) / heads for closed in range(heads + 1)]
    return ChoiceGroup(
        tuple(
            (Options((0.3 * (1 - share) ** 2,), (share,)), *(options(chance, share) for _ in range(4)))
            for share in shares
        )
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("heads", [0, 12])
def test_a_model_of_72_layers_has_a_small_gap(share: float, heads: int) -> None:
    chance = np.random.default_rng(0)
    groups = [ChoiceGroup.single(options(chance)) for _ in range(24 if heads else 72)]
    groups += [attention(chance, heads) for _ in range(12)] if heads else []
    cases = [[sum(max(unit.ms) for unit in units) for units in group.cases] for group in groups]
    quickest, slowest = sum(group.least_ms for group in groups), sum(map(max, cases))
    budget = quickest + share * (slowest - quickest)
    found = solve_knapsack(groups, budget)
    assert found.gap <= 0.005 and found.ms <= budget * (1 + 1e-9)
    assert found.loss > 0.0
