"""compact over every kind of coupling: same results, and dead channels are gone."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.normalize.split_linear import split_linear
from l0compile.rewrite.passes import select
from l0compile.rewrite.pipeline import FUSE, NORMALIZE
from l0compile.rewrite.runner import run
from tests.rewrite import compaction_models

MODELS = compaction_models.MODELS


@cache
def program(name: str) -> Program:
    torch.manual_seed(0)
    build, sizes, names = MODELS[name]
    # Without split_linear, so that channels are followed through the parts of a fused projection.
    passes = [
        step for step in select((NORMALIZE, FUSE), own_operators=False) if step.function is not split_linear
    ]
    return run(capture(build().eval(), (torch.randn(sizes),), dynamic_shapes={"x": names}), passes)


def zeroed(value: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Whole channels of zeros along the first two axes."""
    if not value.dtype.is_floating_point:
        return value
    for axis in range(min(value.ndim, 2)):
        keep = torch.rand(value.shape[axis], generator=generator) >= share
        value = value * keep.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
    return value


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5, 0.8]))
def test_exact(name: str, seed: int, share: float, agree: Callable[..., None]) -> None:
    generator = torch.Generator().manual_seed(seed)
    constants = {key: zeroed(value, generator, share) for key, value in program(name).constants.items()}
    before = replace(program(name), constants=constants)
    after = run(before, [compact])
    sizes = MODELS[name][1]
    agree(before, after, torch.randn(sizes))
    agree(before, after, torch.randn(sizes[0] + 1, *sizes[1:]))


# (constant, channels set to zero along axis 0 of each) -> (constant, its shape after)
CASES: dict[str, tuple[dict[str, list[int]], dict[str, tuple[int, ...]]]] = {
    # A channel of the stream that nobody writes goes from the embedding to the last norm, which counts it (rule 4).
    "residual": (
        {"a.weight": [1, 2], "a.bias": [1, 2], "c.weight": [1, 2], "c.bias": [1, 2], "last.weight": [1, 2],
         "last.bias": [1, 2], "norm.weight": [1, 2], "norm.bias": [1, 2]},
        {"a": (6, 5), "b": (6, 6), "c": (6, 6), "head": (3, 6)},
    ),
    "rms": (
        {"a.weight": [0, 7], "a.bias": [0, 7], "c.weight": [0, 7], "c.bias": [0, 7]},
        {"a": (6, 5), "b": (6, 6), "c": (6, 6), "head": (3, 6)},
    ),
    "pair": ({"a.weight": [0, 8], "a.bias": [0, 8]}, {"a": (10, 5), "head": (3, 5)}),
    # values of head 1: rows 24 + 3 .. 24 + 6
    "packed_heads": ({"a.weight": [27, 28, 29], "a.bias": [27, 28, 29]}, {"a": (27, 5), "head": (3, 9)}),
    "grouped_query": ({"c.weight": [0, 1, 2], "c.bias": [0, 1, 2]}, {"a": (6, 5), "b": (3, 5), "c": (3, 5)}),
    "grouped_query_flag": ({"c.weight": [0, 1, 2], "c.bias": [0, 1, 2]}, {"a": (6, 5), "b": (3, 5), "c": (3, 5)}),
    "by_hand": ({"c.weight": [0, 1, 2, 3], "c.bias": [0, 1, 2, 3]}, {"a": (4, 5), "b": (4, 5), "c": (4, 5)}),
    "convnet": (
        {key: [0, 1, 2, 3] for key in ("a.weight", "a.bias", "depth.weight", "depth.bias")},
        {"b": (4, 4, 1, 1), "depth": (4, 1, 3, 3), "group": (3, 4, 3, 3), "head": (3, 3)},
    ),
    "skips": ({"b.weight": [3], "b.bias": [3]}, {"b": (7, 6, 3, 3), "up": (7, 4, 2, 2)}),
    "line": ({"norm.weight": [2, 3], "norm.bias": [2, 3]}, {"a": (6, 3, 3), "b": (6, 6, 3)}),
    "messages": ({"a.weight": [1, 4], "a.bias": [1, 4]}, {"a": (6, 5), "head": (3, 6)}),
    # sigmoid(0) = 0.5 in three channels: what they add differs at the border
    "padded": ({"a.weight": [0, 5, 6], "a.bias": [0, 5, 6]},
               {"a": (5, 3, 1, 1), "b": (4, 5, 3, 3), "up": (5, 4, 2, 2)}),
    # sigmoid(0) = 0.5 goes into the bias of b
    "unpadded": ({"a.weight": [0, 5], "a.bias": [0, 5]}, {"a": (6, 3, 1, 1), "b": (6, 6, 3, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_dead_channels_go(name: str, agree: Callable[..., None]) -> None:
    zeros, shapes = CASES[name]
    constants = {key: value.clone() for key, value in program(name).constants.items()}
    for name_of, rows in zeros.items():
        key = next(key for key in constants if key.startswith(name_of))
        constants[key][rows] = 0.0
    before = replace(program(name), constants=constants)
    after = run(before, [compact])
    agree(before, after, torch.randn(MODELS[name][1]))
    found = {key.split(".weight")[0]: tuple(value.shape) for key, value in after.constants.items()}
    assert {key: found[key] for key in shapes} == shapes


def test_every_case_is_a_model() -> None:
    assert set(CASES) <= set(MODELS) and Path(compaction_models.__file__).parent == Path(__file__).parents[1]
