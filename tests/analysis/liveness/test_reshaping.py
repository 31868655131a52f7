"""Masks through reshapes: equal to reshaping the full mask, and None rather than wrong for symbols."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.source import ConstantSource
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv

from l0compile.analysis.liveness.reshaping import axis_groups, through


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=5))
    shapes = []
    for _ in range(2):
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
        edges = [0, *cuts, len(factors)]
        shapes.append([int(torch.tensor(factors[a:b]).prod()) for a, b in pairwise(edges)])
    varies = draw(st.lists(st.booleans(), min_size=len(shapes[0]), max_size=len(shapes[0])))
    return shapes[0], shapes[1], varies


@given(reshapes(), st.integers(0, 99))
def test_equals_reshaping_the_full_mask(case: tuple[list[int], list[int], list[bool]], seed: int) -> None:
    before, after, varies = case
    sizes = [size if vary else 1 for size, vary in zip(before, varies, strict=True)]
    mask = torch.rand(sizes, generator=torch.Generator().manual_seed(seed)) > 0.5
    result = through(mask, before, after)
    assert result is not None and result.ndim == len(after)
    assert torch.equal(result.expand(after), mask.expand(before).reshape(after))


def symbol(hint: int) -> torch.SymInt:
    env = ShapeEnv()
    created = env.create_symbol(hint, source=ConstantSource(f"s{hint}"), dynamic_dim=DimDynamic.DYNAMIC)
    made = env.create_symintnode(created, hint=hint)
    assert isinstance(made, torch.SymInt)
    return made


def test_symbolic_leading_axes_pass() -> None:
    s = symbol(7)
    mask = torch.rand(1, 1, 12) > 0.5
    result = through(mask, [2, s, 12], [2, s, 3, 4])
    assert result is not None and torch.equal(result, mask.reshape(1, 1, 3, 4))
    merged = through(mask, [2, s, 12], [2 * s, 12])
    assert merged is not None and torch.equal(merged, mask.reshape(1, 12))
    assert axis_groups([2, s, 12], [2 * s, 12]) == [((0, 2), (0, 1)), ((2, 3), (1, 2))]


def test_a_symbol_mixed_into_the_varying_axis_gives_none() -> None:
    s = symbol(7)
    assert through(torch.rand(1, 12) > 0.5, [s, 12], [s * 12]) is None
