"""Graphs that were compiled wrongly once, or not at all: what the fuzzer printed, made smaller."""

import pytest

from tests.fuzz.check import Level, check
from tests.fuzz.recipe import Input, Recipe, Step, Zeros

# Its convolution, all weights of which may be zero, failed to build: "Mismatched data.strides" on the weight.
EMPTY_CONVOLUTION = Recipe(
    inputs=(Input("tokens"),),
    steps=(
        Step("halves", (0,), {"axis": 0}),
        Step(
            "attention", (1,), {"heads": 4, "projection": "packed", "style": "fused", "causal": True},
            Zeros("rows and bias", 0.9),
        ),
        Step(
            "convolution", (3,),
            {"outside": 10, "kernel_size": 3, "stride": 2, "padding": 0, "groups": 5, "bias": True},
            Zeros("all", 0.5),
        ),
    ),
    outputs=(4,),
)  # fmt: skip


@pytest.mark.parametrize(("recipe", "level"), [(EMPTY_CONVOLUTION, "full")], ids=["empty convolution"])
def test_once_wrong(recipe: Recipe, level: Level) -> None:
    assert check(recipe, level) == [None]
