"""Ranges hold what they must; numbers beside an axis are few, round and on it; labels end up apart."""

import math
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from l0compile.report.plots.figure import HALF, canvas, round_numbers, set_range, shortened, spread

NUMBERS = st.floats(1e-3, 1e4)


@settings(deadline=None, max_examples=30)
@given(st.lists(NUMBERS, max_size=9), st.booleans())
def test_a_range_holds_its_values_with_room(values: list[float], log: bool) -> None:
    _, axes = canvas(HALF)
    set_range(axes, "y", values, 6, log=log, margin=0.1)
    low, high = axes.get_ylim()
    assert low < high and all(low < value < high for value in values)
    assert axes.get_yscale() == ("log" if log else "linear")
    numbers = [float(label.get_text()) for label in axes.get_yticklabels()]
    assert numbers == pytest.approx(list(axes.get_yticks()), rel=1e-3)


@given(NUMBERS, st.floats(1.02, 1e4), st.integers(3, 9), st.booleans())
def test_numbers_are_few_round_and_on_the_axis(low: float, factor: float, count: int, log: bool) -> None:
    assume(log or factor > 1.05)
    high = low * factor
    found = round_numbers(low, high, count, log)
    assert found == sorted(found) and len(found) <= count + 1
    assert all(low <= number <= high for number in found)
    assert all(float(f"{number:.3g}") == pytest.approx(number, rel=1e-9) for number in found if factor > 3)


def test_numbers_over_several_octaves_are_those_of_a_ruler() -> None:
    assert round_numbers(3.6, 24.0, 8, log=True) == [4.0, 5.0, 7.0, 10.0, 15.0, 20.0]
    assert round_numbers(3.6, 6.7, 8, log=True) == pytest.approx([4.0, 4.5, 5.0, 5.5, 6.0, 6.5])
    assert round_numbers(0.87, 0.96, 6, log=False) == pytest.approx([0.88, 0.9, 0.92, 0.94, 0.96])


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=12), st.floats(0.1, 20.0))
def test_labels_are_apart_inside_and_in_order(places: list[float], gap: float) -> None:
    found = spread(places, gap, 0.0, 100.0)
    wanted = min(gap, 100.0 / max(1, len(places) - 1))
    ordered = [found[i] for i in sorted(range(len(places)), key=lambda i: places[i])]
    assert all(b - a >= wanted - 1e-6 for a, b in pairwise(ordered))
    assert min(found) >= -1e-6 and max(found) <= 100.0 + 1e-6
    if all(b - a >= wanted for a, b in pairwise(sorted(places))):
        assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(found, places, strict=True))


def test_long_names_are_cut_at_the_end_that_says_less() -> None:
    assert shortened("a\nname  of words", 9) == "a name o…"
    assert shortened("encoder.layer.0.dense", 8, keep_end=True) == "….dense"[:1] + "0.dense"
    assert shortened("short", 5) == "short"
