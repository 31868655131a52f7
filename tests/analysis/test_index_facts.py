"""Interval facts are sound: every value that a program computes lies in its node's range, and counters count."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from l0compile.analysis.index_facts import _decide, index_facts
from l0compile.frontend.export import capture


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
