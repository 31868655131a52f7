"""Properties of masks that are evaluated while compiling, and of the proof that a bias depends on the distance."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx

from l0compile.frontend.flex.block_lists import BlockCounter
from l0compile.frontend.flex.computed import blocks_of
from l0compile.frontend.flex.conditions import PlaceCondition
from l0compile.frontend.flex.distance import by_distance
from l0compile.frontend.flex.fixed_mask import MaskSize, evaluate
from l0compile.frontend.flex.mod import PLACE, Mod, on_grid
from l0compile.ir.ops.attention.block import program_of

aten = torch.ops.aten


def lookup(table: Tensor) -> PlaceCondition:
    """Live where a table [b, h, Q, K] says so."""
    graph = fx.Graph()
    *place, values = (graph.placeholder(name) for name in (*PLACE, "table"))
    for axis in (0, 1):
        if table.shape[axis] == 1:
            place[axis] = graph.call_function(aten.mul.Tensor, (place[axis], 0))
    graph.output(graph.call_function(aten.index.Tensor, (values, place)))
    return PlaceCondition(Mod(fx.GraphModule({}, graph), PLACE, (None,)), (table,))


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    """Masks with blocks that are full, empty and neither."""
    sizes = [draw(st.integers(1, most)) for most in (2, 2, 40, 40)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    coarse = torch.rand(*sizes[:2], -(-sizes[2] // 4), -(-sizes[3] // 4), generator=generator)
    share = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, : sizes[2], : sizes[3]]
    return torch.rand(share.shape, generator=generator) < (share * 3 - 1)


BLOCKS = st.sampled_from([1, 3, 4, 8, 16, 64])


@settings(max_examples=60, deadline=None)
@given(masks(), BLOCKS, BLOCKS, BLOCKS, BLOCKS, st.sampled_from([1, 200, 1 << 24]))
def test_a_fixed_mask_is_the_table_that_it_looks_up(
    table: Tensor, q_block: int, k_block: int, listed_q: int, listed_k: int, at_once: int
) -> None:
    b, h, queries, keys = table.shape
    size = MaskSize(b, h, queries, keys, q_block, k_block)
    found = evaluate([lookup(table)], [], size, (listed_q, listed_k), at_once)
    assert torch.equal(found.program.to_mask(queries, keys).expand_as(table), table)
    assert found.is_full == bool(table.all())
    assert found.is_causal == bool((table == torch.ones(queries, keys).tril().bool()).all())
    if found.program.patterns is not None:
        flat = found.program.patterns.flatten(1)
        assert len(torch.unique(flat, dim=0)) == len(flat)
        assert flat.any(1).all()
    counter = BlockCounter(queries, keys, listed_q, listed_k)
    counter.add(table)
    assert torch.equal(found.summary.some.expand_as(counter.summary().some), counter.summary().some)
    assert torch.equal(found.summary.every.expand_as(counter.summary().every), counter.summary().every)


@settings(max_examples=40, deadline=None)
@given(masks(), masks(), BLOCKS)
def test_further_conditions_change_the_mask_but_not_the_summary(
    left: Tensor, right: Tensor, block: int
) -> None:
    queries, keys = (min(a, b) for a, b in zip(left.shape[2:], right.shape[2:], strict=True))
    left, right = left[:1, :, :queries, :keys], right[:1, :1, :queries, :keys]
    size = MaskSize(1, left.shape[1], queries, keys, block, block)
    found = evaluate([lookup(left)], [lookup(right)], size, (block, block))
    assert torch.equal(found.program.to_mask(queries, keys).expand_as(left), left & right)
    alone = evaluate([lookup(left)], [], size, (block, block)).summary
    assert torch.equal(found.summary.some, alone.some)


@settings(max_examples=40, deadline=None)
@given(masks(), BLOCKS, BLOCKS)
def test_lists_in_the_graph_are_those_of_the_mask(table: Tensor, q_block: int, k_block: int) -> None:
    program = program_of((*blocks_of(table, q_block, k_block), None, None), q_block, k_block)
    assert torch.equal(program.to_mask(*table.shape[2:]), table)


OPERATORS = ("add", "sub", "mul", "ge", "lt", "eq", "maximum")


@st.composite
def functions(draw: st.DrawFn) -> Mod:
    """Functions of a score's place, of sums, differences, comparisons and others."""
    graph = fx.Graph()
    place = [graph.placeholder(name) for name in PLACE]
    made: list[Any] = [*place[1:], 2, -3]
    for _ in range(draw(st.integers(1, 7))):
        operator = draw(st.sampled_from(OPERATORS))
        left = draw(st.sampled_from([one for one in made if isinstance(one, fx.Node)]))
        right = draw(st.sampled_from(made))
        if operator == "maximum":
            target, right = aten.maximum.default, right if isinstance(right, fx.Node) else left
        else:
            target = (
                getattr(aten, operator).Tensor
                if isinstance(right, fx.Node)
                else getattr(aten, operator).Scalar
            )
        found = graph.call_function(target, (left, right))
        if operator in ("ge", "lt", "eq"):
            found = graph.call_function(aten._to_copy.default, (found,), {"dtype": torch.int64})
        made.append(found)
    if draw(st.booleans()):
        made.append(
            graph.call_function(aten.neg.default, (graph.call_function(aten.mul.Tensor, (made[-1], 1)),))
        )
    graph.output(made[-1])
    return Mod(fx.GraphModule({}, graph), PLACE)


@settings(max_examples=300, deadline=None)
@given(functions())
def test_what_is_proven_to_depend_on_distance_does(mod: Mod) -> None:
    if not by_distance(mod, mod.result):
        return
    place = [torch.arange(size) for size in (1, 3, 7, 7)]
    values = on_grid(mod, place, ())[0]
    one, distances = torch.zeros(1, dtype=torch.int64), torch.arange(-6, 7)
    table = on_grid(mod, (one, place[1], distances, one), ())[0, :, :, 0]
    wanted = table[:, (place[2].unsqueeze(1) - place[3]) + 6]
    assert torch.equal(values, wanted)
