"""A small encoder's explanation with one region of every fate, in times that are easy to add up."""

import pytest

from l0compile.ir.records import EngineChoice, Operator, PassRecord, Region, StageRecord
from l0compile.runtime.account import Explanation, FunctionTime, Profile

REGIONS = (
    Region("query", "linear", (64, 64), (32, 64), 0.5, "compact", None, "2 of 4 heads are closed"),
    Region("attention", "attention", (4, 16), (2, 16), 1.0, "compact", None, "2 of 4 heads are closed"),
    Region("up", "linear", (256, 64), (256, 64), 0.2, "bsr", (4, 1), "0.25 of the blocks kept", 0.25),
    Region("down", "linear", (64, 256), (64, 256), 1.0, "dense", None, "dense: no zeros"),
    Region("pooler", "linear", (64, 64), (0, 0), 0.0, "dropped", None, "dropped: nothing reads it"),
)
FUNCTIONS = (
    FunctionTime("embedding", "ordinary", None, None, 0.25),
    FunctionTime("linear_0", "kernel", "query", "query", 1.0),
    FunctionTime("attention_1", "kernel", "attention", "attention", 0.5),
    FunctionTime("layer_norm_2", "kernel", None, "norm", 0.5),
    FunctionTime("island_0", "island", None, "model.py:7", 0.75),
    FunctionTime("linear_3", "kernel", "up", "up", 2.0),
    FunctionTime("linear_4", "kernel", "down", "down", 4.0),
    FunctionTime("sin", "ordinary", None, None, 0.25),
    FunctionTime("sin", "ordinary", None, None, 0.5),
)


@pytest.fixture
def regions() -> tuple[Region, ...]:
    return REGIONS


@pytest.fixture
def profile() -> Profile:
    """9.75 ms in functions, 0.25 ms between them."""
    return Profile({"batch": 2, "tokens": 24}, 1, 10.0, FUNCTIONS)


@pytest.fixture
def explanation(profile: Profile) -> Explanation:
    cumsum = Operator("cumsum", "aten.cumsum.default", "model.py:7 in forward", "has no lowering")
    return Explanation(
        REGIONS,
        (PassRecord("drop_dead", 1, 0.5),),
        {"checked": True, "max_difference": 1e-7, "tolerance": 2e-5, "inputs": 1},
        {"aten.sin.default": 2, "aten.embedding.default": 1},
        stages=(StageRecord("tvm", (), ""), StageRecord("torch", (cumsum,), "TVM cannot take aten.cumsum.default")),
        choice=EngineChoice("tvm", "faster than PyTorch", 10.0, 30.0),
        sizes=("batch is 1 or more", "(tokens <= 512)"),
        plain=("sin",),
        profile=profile,
    )  # fmt: skip
