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


# Two constants, the rows and the columns that are read, were taken for one by the launch that both kernels share.
ENLARGED = Recipe(
    inputs=(Input("image"),),
    steps=(
        Step(
            "convolution", (0,),
            {"outside": 8, "kernel_size": 1, "stride": 2, "padding": 0, "groups": 1, "bias": False},
        ),
        Step("enlarge", (1,), {}),
    ),
    outputs=(2,), sizes=(2, 5), other=(3, 7),
)  # fmt: skip

# The size that its unpacking reads was placed behind it.
ONLY_A_NORM = Recipe(
    inputs=(Input("tokens"),), steps=(Step("layer_norm", (0,), {"affine": False}),), outputs=(1,), dynamic=("batch",)
)  # fmt: skip

# A norm in half precision, written out, rounded at every step.
HALF_PRECISION_NORMS = Recipe(
    inputs=(Input("image"),),
    steps=(
        Step("rms_norm", (0,), {"affine": True}, Zeros("shared rows", 0.9)),
        Step("group_norm", (0,), {"groups": 1}, Zeros("columns", 0.5)),
        Step("unary", (1,), {"kind": "minus"}),
        Step("unary", (2,), {"kind": "minus"}),
        Step("layer_norm", (3,), {"affine": True}, Zeros("shared rows", 0.9)),
    ),
    outputs=(5,), dtype="bfloat16", seed=6539,
)  # fmt: skip

# A view, recorded for the strides that its operand had before layouts were assigned.
NORM_OF_TURNED_TOKENS = Recipe(
    inputs=(Input("tokens"),),
    steps=(
        Step("linear", (0,), {"width": 8, "bias": False}),
        Step("linear", (1,), {"width": 8, "bias": False}),
        Step("group_norm", (2,), {"groups": 1}),
    ),
    outputs=(3,),
)  # fmt: skip

# A linear layer reads a mean that was rewritten when its channels went.
LINEAR_OF_A_MEAN = Recipe(
    inputs=(Input("tokens"),),
    steps=(
        Step("linear", (0,), {"width": 8, "bias": False}, Zeros("columns", 0.5)),
        Step("linear", (1,), {"width": 8, "bias": False}, Zeros("units", 0.25)),
        Step("linear", (2,), {"width": 8, "bias": False}, Zeros("columns", 0.9)),
        Step("linear", (3,), {"width": 8, "bias": True}),
        Step("reduction", (4,), {"kind": "mean", "axis": -1, "keep": False}, Zeros("rows", 0.25)),
        Step("linear", (5,), {"width": 8, "bias": False}, Zeros("columns", 0.9)),
    ),
    outputs=(6,), sizes=(2, 5), other=(3, 7), seed=9000,
)  # fmt: skip

# A number added to a constant was rounded to float32 on the way.
DOUBLE_MEAN_OF_CONSTANTS = Recipe(
    inputs=(Input("tokens"),),
    steps=(
        Step("linear", (0,), {"width": 8, "bias": False}, Zeros("columns", 0.5)),
        Step("linear", (1,), {"width": 8, "bias": False}, Zeros("units", 0.25)),
        Step("linear", (2,), {"width": 8, "bias": True}, Zeros("columns", 0.9)),
        Step("reduction", (3,), {"kind": "mean", "axis": -1, "keep": False}),
    ),
    outputs=(4,), sizes=(2, 5), other=(3, 7), dtype="float64", seed=9000,
)  # fmt: skip

CASES: list[tuple[Recipe, Level]] = [
    (EMPTY_CONVOLUTION, "full"),
    (ENLARGED, "full"),
    (ONLY_A_NORM, "rewrite"),
    (HALF_PRECISION_NORMS, "rewrite"),
    (NORM_OF_TURNED_TOKENS, "rewrite"),
    (LINEAR_OF_A_MEAN, "rewrite"),
    (DOUBLE_MEAN_OF_CONSTANTS, "rewrite"),
]


@pytest.mark.parametrize(
    ("recipe", "level"),
    CASES,
    ids=[
        "empty convolution",
        "enlarged",
        "only a norm",
        "half norms",
        "turned",
        "linear of mean",
        "double mean",
    ],
)
def test_once_wrong(recipe: Recipe, level: Level) -> None:
    assert check(recipe, level) == [None]
