"""Interval facts are sound: every value that a program computes lies in its node's range, and counters count."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from l0compile.analysis.index_facts import _decide, index_facts
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.ir.shapes import infer_shapes

aten = torch.ops.aten


class Indices(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(3, 12)[None])
        self.register_buffer("levels", torch.tensor([4, -2, 7]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        n = x.shape[0]
        i, j = torch.arange(n), torch.arange(2, n + 2)
        one = torch.arange(1).expand(n)
        grid = (i[:, None] - 3 >= j[None, :]) | (i[None, :] == i[:, None])
        short, picked = self.table[:, 1:n], self.levels[one]
        return (
            i + 5,
            j - 1,
            one,
            grid,
            short,
            picked,
            ~(i < 0),
            i.to(torch.uint8),
            (i > -1) & (j != 1),
            x.long(),
            torch.diff(i, prepend=i[:1] - 1),
            (torch.diff(i, prepend=i[:1] - 1) != 1).cumsum(0),
            torch.diff(j, prepend=j[:1]),
            i.reshape(1, n, 1),
            i.expand(2, n).reshape(2, 1, n),
        )


@given(st.integers(2, 8))
def test_sound(n: int) -> None:
    program = PROGRAM
    facts = {node.name: fact for node, fact in index_facts(program).items()}

    class Check(fx.Interpreter):
        def run_node(self, node: fx.Node) -> object:
            result = super().run_node(node)
            fact = facts.get(node.name)
            if fact is not None and isinstance(result, Tensor) and result.numel():
                assert fact.low is None or int(result.min()) >= fact.low, node
                assert fact.high is None or int(result.max()) <= fact.high, node
                if fact.axis is not None and fact.low is not None:
                    size = [-1 if axis == fact.axis else 1 for axis in range(result.ndim)]
                    counted = torch.arange(fact.low, fact.low + result.shape[fact.axis]).reshape(size)
                    assert torch.equal(result, counted.expand(result.shape).to(result.dtype)), node
            return result

    Check(program.module()).run(torch.randn(n))


PROGRAM = capture(Indices().eval(), (torch.randn(4),), dynamic_shapes={0: "n"})


def test_something_is_known() -> None:
    facts = {node.name: fact for node, fact in index_facts(PROGRAM).items()}
    assert sum(fact.axis is not None for fact in facts.values()) >= 5
    assert sum(fact.uniform is not None for fact in facts.values()) >= 4


@given(
    st.sampled_from(["ge", "gt", "le", "lt", "eq", "ne"]),
    st.none() | st.integers(-3, 3),
    st.none() | st.integers(-3, 3),
)
def test_decide_agrees_with_enumeration(name: str, low: int | None, high: int | None) -> None:
    import operator

    values = range(-9 if low is None else low, (9 if high is None else high) + 1)
    verdicts = {getattr(operator, name)(value, 0) for value in values}
    if verdicts:
        assert _decide(name, low, high) == (verdicts.pop() if len(verdicts) == 1 else None)


MOVED: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "reshape": (aten.reshape.default, ([4, 6],)),
    "flatten": (aten.flatten.using_ints, (0, 1)),
    "unsqueeze": (aten.unsqueeze.default, (1,)),
    "permute": (aten.permute.default, ([1, 0],)),
    "transpose": (aten.transpose.int, (0, 1)),
    "select": (aten.select.int, (0, 1)),
    "slice": (aten.slice.Tensor, (1, 1, 8, 3)),
    "expand": (aten.expand.default, ([3, 2, 12],)),
    "clone": (aten.clone.default, ()),
    "index_select": (aten.index_select.default, (1, torch.tensor([3, 3, 0]))),
    "a wider type": (aten.to.dtype, (torch.int64,)),
    "a type that wraps": (aten.to.dtype, (torch.int8,)),
}


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.parametrize("start", [0, 120])
def test_ranges_through_operators_that_move_elements(name: str, start: int) -> None:
    operator, rest = MOVED[name]
    graph, constants = fx.Graph(), {}
    counted = graph.call_function(aten.arange.start, (start, start + 24))
    x = graph.call_function(aten.reshape.default, (counted, [2, 12]))
    args = []
    for number, argument in enumerate(rest):
        if isinstance(argument, Tensor):
            constants[f"constant_{number}"] = argument
            argument = graph.get_attr(f"constant_{number}")
        args.append(argument)
    result = graph.call_function(operator, (x, *args))
    graph.output((result,))
    spec = pytree.tree_structure((0,))
    program = Program(graph, constants, spec, spec)
    infer_shapes(program)
    (values,), fact = program.module()(), index_facts(program)[result]
    assert fact.low is None or fact.low <= int(values.min())
    assert fact.high is None or fact.high >= int(values.max())
    assert (fact.low is None) == (name == "a type that wraps")
