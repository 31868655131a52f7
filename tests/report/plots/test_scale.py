"""Scales put ends on ends and keep order; ticks are round and on the axis; labels end up apart."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from l0compile.report.plots.scale import Scale, spread

NUMBERS = st.floats(1e-3, 1e4)


@given(st.lists(NUMBERS, min_size=1), st.booleans())
def test_a_scale_around_values_holds_them_in_order(values: list[float], log: bool) -> None:
    scale = Scale.around(values, 40.0, 400.0, log=log)
    places = [scale(value) for value in sorted(values)]
    assert places == sorted(places) and places[0] >= 40.0 and places[-1] <= 400.0
    assert all(scale.holds(value) for value in values)
    assert scale(scale.low) == pytest.approx(40.0) and scale(scale.high) == pytest.approx(400.0)


def test_without_margin_the_extremes_are_the_ends() -> None:
    scale = Scale.around([2.0, 8.0, 4.0], 100.0, 0.0, log=True, margin=0.0)
    assert [scale(value) for value in (2.0, 4.0, 8.0)] == pytest.approx([100.0, 50.0, 0.0])


@given(NUMBERS, st.floats(1.02, 1e4), st.integers(3, 9), st.booleans())
def test_ticks_are_few_round_and_on_the_axis(low: float, factor: float, count: int, log: bool) -> None:
    scale = Scale(low, low * factor, 0.0, 100.0, log)
    assume(log or factor > 1.05)
    ticks = scale.ticks(count)
    assert ticks == sorted(ticks) and len(ticks) <= count + 1
    slack = 1e-6 * scale.high
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)
    steps = {float(f"{tick:.3g}") == pytest.approx(tick, rel=1e-9) for tick in ticks if factor > 3}
    assert steps <= {True}


def test_ticks_over_several_octaves_are_those_of_a_ruler() -> None:
    assert Scale(3.6, 24.0, 0.0, 1.0, log=True).ticks(8) == [4.0, 5.0, 7.0, 10.0, 15.0, 20.0]
    assert Scale(3.6, 6.7, 0.0, 1.0, log=True).ticks(8) == [4.0, 4.5, 5.0, 5.5, 6.0, 6.5]
    assert Scale(0.87, 0.96, 0.0, 1.0).ticks(6) == [0.88, 0.9, 0.92, 0.94, 0.96]


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=12), st.floats(0.1, 20.0))
def test_labels_are_apart_inside_and_in_order(places: list[float], gap: float) -> None:
    found = spread(places, gap, 0.0, 100.0)
    wanted = min(gap, 100.0 / max(1, len(places) - 1))
    ordered = [found[i] for i in sorted(range(len(places)), key=lambda i: places[i])]
    assert all(b - a >= wanted - 1e-6 for a, b in pairwise(ordered))
    assert min(found) >= -1e-6 and max(found) <= 100.0 + 1e-6
    if all(b - a >= wanted for a, b in pairwise(sorted(places))):
        assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(found, places, strict=True))
