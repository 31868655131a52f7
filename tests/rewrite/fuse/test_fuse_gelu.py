"""fuse_gelu and cse: written-out GELU becomes one operator; what is computed twice is computed once."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_gelu import fuse_gelu
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.cse import cse
from l0compile.rewrite.runner import run

aten = torch.ops.aten
ROOT = math.sqrt(2 / math.pi)

TANH: dict[str, Callable[[Tensor], Tensor]] = {
    "transformers": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3.0)))),
    "cube as product": lambda x: x * 0.5 * (torch.tanh((x + 0.044715 * x * x * x) * ROOT) + 1),
    "gate first": lambda x: (1 + torch.tanh(ROOT * (0.044715 * x**3 + x))) * (x * 0.5),
}
ERF: dict[str, Callable[[Tensor], Tensor]] = {
    "transformers": lambda x: x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0))),
    "product": lambda x: 0.5 * (x * (torch.erf(x * math.sqrt(0.5)) + 1)),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "other factor": lambda x: 0.4 * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**3))),
    "other cube": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.044 * x**3))),
    "other root": lambda x: 0.5 * x * (1.0 + torch.tanh(0.79 * (x + 0.044715 * x**3))),
    "square": lambda x: 0.5 * x * (1.0 + torch.tanh(ROOT * (x + 0.044715 * x**2))),
    "other argument": lambda x: 0.5 * x * (1.0 + torch.erf((x + 1) / math.sqrt(2.0))),
    "erf of more": lambda x: 0.5 * x * (1.0 + torch.erf(x)),
    "quotient": lambda x: 0.5 * x * (1.0 + torch.erf(math.sqrt(0.5) / x)),
    "difference": lambda x: 0.5 * x * (1.0 - torch.erf(x / math.sqrt(2.0))),
}


class Formula(nn.Module):
    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x)


@pytest.mark.parametrize(("form", "name"), [("tanh", n) for n in TANH] + [("none", n) for n in ERF])
def test_forms(
    form: str, name: str, captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    x = torch.linspace(-4, 4, 50)
    formula = (TANH if form == "tanh" else ERF)[name]
    result = apply_once(run(captured(Formula(formula), x), [canonicalize]), fuse_gelu, x)
    (node,) = (node for node in result.graph.nodes if node.op == "call_function")
    assert node.target is aten.gelu.default and node.kwargs.get("approximate", "none") == form


@pytest.mark.parametrize("name", OTHERS)
def test_refusals(name: str, captured: Callable[..., Program]) -> None:
    program = run(captured(Formula(OTHERS[name]), torch.rand(5) + 1), [canonicalize])
    assert fuse_gelu(program) is program


def test_equal_operators_are_merged(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    layer = nn.Linear(4, 4)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (
                self.layer(x).sum(1),
                self.layer(x).sum(1, keepdim=True),
                self.layer(x + 1),
                x.sum(1),
                x.sum(0),
            )

    x = torch.randn(3, 4)
    result = apply_once(captured(Twice(), x), cse, x)
    assert count(result, aten.linear.default) == 2 and count(result, aten.sum.dim_IntList) == 4


def test_random_operators_are_not_merged(captured: Callable[..., Program]) -> None:
    program = captured(Formula(lambda x: x + 1), torch.randn(3))
    x = program.placeholders[0]
    graph = program.graph
    with graph.inserting_before(program.output):
        twice = [graph.call_function(aten.rand_like.default, (x,)) for _ in range(2)]
    for node in twice:
        node.meta["val"] = x.meta["val"]
    program.output.args = (tuple(twice),)
    assert cse(program) is program
