"""The local search for options whose vectors sum to little, within a budget."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.studies.fit.exchange import VectorChoice


def drawn(seed: int, items: int, options: int) -> VectorChoice:
    random = np.random.default_rng(seed)
    vectors, costs = random.normal(size=(items, options, 6)), random.random((items, options)) + 0.1
    start = tuple(int(n) for n in random.integers(0, options, items))
    vectors[np.arange(items), start] = 0.0
    return VectorChoice(start, random.normal(size=6), vectors, costs)


@given(
    seed=st.integers(0, 10**6), items=st.integers(1, 5), options=st.integers(1, 4), room=st.floats(0.0, 1.0)
)
def test_a_choice_keeps_the_budget_and_no_single_change_beats_it(
    seed: int, items: int, options: int, room: float
) -> None:
    problem = drawn(seed, items, options)
    least, most = problem.costs.min(1).sum(), problem.costs.max(1).sum()
    budget = least + room * (most - least) + 1e-9
    found = problem.improve(budget)
    assert problem.cost(found) <= budget
    for item, option in product(range(items), range(options)):
        other = (*found[:item], option, *found[item + 1 :])
        assert problem.cost(other) > budget or problem.loss(other) >= problem.loss(found) * (1 - 1e-6)


def test_two_changes_together_are_found_where_neither_helps_alone() -> None:
    """Both options of the second kind cancel out; the budget has room for one dear option only."""
    vectors = np.array([[[0.0], [2.0]], [[0.0], [-2.0]]])
    apart = VectorChoice((0, 0), np.array([0.0]), vectors, np.array([[1.0, 0.5], [1.0, 0.5]]))
    assert apart.improve(1.0) == (1, 1) and apart.improve(2.0) == (0, 0)
    exchanged = VectorChoice(
        (1, 0), np.array([1.0]), -np.abs(vectors) / 4, np.array([[2.0, 1.0], [2.0, 1.0]])
    )
    assert exchanged.cost(exchanged.improve(3.0)) <= 3.0


def test_damping_stays_nearer_to_the_start() -> None:
    problem = drawn(3, 5, 4)
    free, damped = problem.improve(1e9), problem.improve(1e9, damping=1e6)
    assert damped == problem.start and problem.loss(free) < problem.loss(problem.start)


def test_an_option_that_an_item_does_not_have_is_never_taken() -> None:
    problem = drawn(4, 3, 3)
    problem.costs[1, 2] = np.inf
    start = (problem.start[0], 0, problem.start[2])
    found = VectorChoice(start, problem.residual, problem.vectors, problem.costs).improve(1e9)
    assert np.isfinite(problem.costs[np.arange(3), found]).all()


def test_items_that_change_together_cost_and_sum_the_same() -> None:
    problem = drawn(5, 3, 3)
    problem = VectorChoice((0, 0, 0), problem.residual, problem.vectors, problem.costs)
    merged = problem.merged([[0, 2], [1]])
    for one, other in product(range(3), repeat=2):
        assert merged.loss((one, other)) == pytest.approx(problem.loss((one, other, one)))
        assert merged.cost((one, other)) == pytest.approx(problem.cost((one, other, one)))
