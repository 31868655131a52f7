"""Patterns match what they should, and groups add up."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.compiler.advice.options import Advice, Option, patterns_for

MODULES = [f"layer.{n}.{name}" for n in range(12) for name in ("output", "attention.output", "up")]


@pytest.mark.parametrize(
    "names, patterns",
    [
        ([f"layer.{n}.up" for n in range(12)], ("layer.*.up",)),
        # "layer.*.output" would also match the attention's.
        ([f"layer.{n}.output" for n in range(12)], ("layer.[0-9].output", "layer.[0-9][0-9].output")),
        (["layer.3.up"], ("layer.3.up",)),
        (["layer.3.up", "layer.4.up"], ("layer.3.up", "layer.4.up")),
    ],
)
def test_patterns_match_exactly_the_modules(names: list[str], patterns: tuple[str, ...]) -> None:
    assert patterns_for(tuple(names), MODULES) == patterns


@given(st.sets(st.sampled_from(MODULES), min_size=1))
def test_any_set_of_modules_has_patterns(names: set[str]) -> None:
    patterns = patterns_for(tuple(sorted(names)), MODULES)
    assert {name for name in MODULES if any(fnmatchcase(name, p) for p in patterns)} == names


def test_alike_modules_are_one_group_and_blocked_ones_come_last() -> None:
    options = (
        Option("a.0.up", "Neuron()", 8, 2.0, 0.0, (), "read by an output"),
        Option("a.0.down", "Neuron()", 8, 1.0, 0.125, ("a.0.down",)),
        Option("a.1.down", "Neuron()", 8, 3.0, 0.375, ("a.1.down",)),
    )
    advice = Advice("native", "ms", {}, 10.0, {}, options, {}, (), {})
    first, second = advice.groups
    assert first.patterns == ("a.*.down",) and first.modules == ("a.0.down", "a.1.down")
    assert (first.units, first.cost, first.per_unit) == (16, 4.0, 0.25)
    assert second.blocked == "read by an output"
    assert advice.to_json()["groups"][0]["patterns"] == ("a.*.down",)
