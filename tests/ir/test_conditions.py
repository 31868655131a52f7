"""Conditions on sizes: evaluated as Python would, shown with the user's names, unchanged by JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from l0compile.ir.conditions import evaluate, from_json, holds, show


@given(a=st.integers(1, 50), b=st.integers(1, 50))
def test_evaluates_like_python(a: int, b: int) -> None:
    sizes = {"s0": a, "s1": b}
    condition = ("or", ("<", ("*", "s0", "s1", 2), ("+", "s0", 9)), ("==", ("%", "s0", 4), ("//", "s1", 3)))
    assert evaluate(condition, sizes) == (a * b * 2 < a + 9 or a % 4 == b // 3)
    assert evaluate(("not", (">=", ("min", "s0", "s1"), ("max", 3, "s1"))), sizes) == (
        not min(a, b) >= max(3, b)
    )
    assert from_json(json.loads(json.dumps(condition))) == condition


def test_shown_with_labels() -> None:
    assert show(("<", "s0", ("max", "s1", 3)), {"s0": "batch"}) == "(batch < max(s1, 3))"


def test_a_relation_that_divides_by_zero_does_not_hold() -> None:
    condition = ("==", ("%", "n", ("//", "n", 2)), 0)
    assert holds(condition, {"n": 4}) and not holds(condition, {"n": 5}) and not holds(condition, {"n": 1})


def test_floating_point_is_that_of_python() -> None:
    rounded = ("trunc", ("*", 0.29, ("float", "n")))
    assert evaluate(from_json(json.loads(json.dumps(rounded))), {"n": 100}) == 28 == int(0.29 * 100)
    assert show(rounded, {"n": "tokens"}) == "trunc((0.29 * float(tokens)))"
