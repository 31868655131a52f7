"""compact, attention: whole heads go, constants they gave are folded, and what others read stays."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

aten, attention = torch.ops.aten, torch.ops.l0compile.attention


class Attend(nn.Module):
    def __init__(self, masked: bool, kind: str = "plain") -> None:
        super().__init__()
        self.masked, self.kind = masked, kind
        self.q, self.k, self.v, self.out = (
            nn.Linear(6, 12),
            nn.Linear(6, 12),
            nn.Linear(6, 8),
            nn.Linear(8, 5),
        )

    def forward(self, x: Tensor, mask: Tensor) -> object:
        q = self.q(x)
        k = x.repeat(1, 1, 2) if self.kind == "not linear" else self.k(x)
        h = attention(
            q, k, self.v(x), mask if self.masked else None, 4, 0.5, None, None if self.masked else 0
        )
        y = self.out(h)
        match self.kind:
            case "shared":
                return y, q
            case "read":
                return y, h
            case _:
                return y


def inputs(batch: int = 2, tokens: int = 3) -> tuple[Tensor, Tensor]:
    mask = torch.ones(batch, 1, 1, tokens, dtype=torch.bool)
    mask[0, ..., 1:] = False
    return torch.randn(batch, tokens, 6), mask


def build(masked: bool, kind: str = "plain") -> Program:
    torch.manual_seed(0)
    names = {"x": {0: "b", 1: "s"}, "mask": {0: "b", 3: "s"}}
    return run(capture(Attend(masked, kind).eval(), inputs(), dynamic_shapes=names), [canonicalize])


PROGRAMS = {masked: build(masked) for masked in (False, True)}


def heads_of(program: Program) -> int:
    return int(program.graph.find_nodes(op="call_function", target=attention.default)[0].args[4])


@pytest.mark.parametrize("masked", [False, True])
@settings(max_examples=25)
@given(unread=st.sets(st.integers(0, 3)), fixed=st.sets(st.integers(0, 3)), zero_bias=st.booleans())
def test_rule_3(masked: bool, unread: set[int], fixed: set[int], zero_bias: bool) -> None:
    constants = {name: value.clone() for name, value in PROGRAMS[masked].constants.items()}
    for head in unread:
        constants["out.weight"][:, 2 * head : 2 * head + 2] = 0.0
    for head in fixed:
        constants["v.weight"][2 * head : 2 * head + 2] = 0.0
        constants["v.bias"][2 * head : 2 * head + 2] *= 0.0 if zero_bias else 1.0
    program = PROGRAMS[masked].with_graph(PROGRAMS[masked].graph, constants)
    result = run(program, [compact])
    arguments = inputs(3, 4)
    torch.testing.assert_close(result.run(*arguments), program.run(*arguments), rtol=1e-5, atol=1e-5)
    # With a mask a query may see no key and gets 0, so a constant other than 0 is none.
    dead = unread | (fixed if zero_bias or not masked else set())
    assert heads_of(result) == max(4 - len(dead), 1)  # drop_dead takes attention that is wholly dead
    assert run(result, [compact]).history[-1].changed == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("shared", "read by an output of the model"),
        ("not linear", "aten.repeat.default"),
        ("read", "read by an output of the model"),
    ],
)
def test_rule_7_refusals(kind: str, words: str, apply_once: Callable[..., Program]) -> None:
    program = build(True, kind)
    constants = {name: value.clone() for name, value in program.constants.items()}
    constants["v.weight"][:2] = constants["v.bias"][:2] = 0.0
    program = run(program.with_graph(program.graph, constants), [record_regions])
    result = apply_once(program, compact, *inputs())
    assert heads_of(result) == 4
    assert any(words in region.reason and "are dead but stay" in region.reason for region in result.regions)


class Biased(nn.Module):
    """Attention with a bias for each head, as a table of relative positions gives (T5)."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = *(nn.Linear(6, 8) for _ in range(3)), nn.Linear(8, 6)
        self.table = nn.Embedding(5, 4)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        bias = self.table(index).permute(2, 0, 1).unsqueeze(0)
        return self.out(attention(self.q(x), self.k(x), self.v(x), bias, 4, 0.5, None, None))


def test_a_bias_loses_the_heads_that_attention_loses(apply_once: Callable[..., Program]) -> None:
    torch.manual_seed(0)
    model = Biased().eval()
    with torch.no_grad():
        model.v.weight[2:6] = model.v.bias[2:6] = 0.0
    given_inputs = torch.randn(2, 3, 6), torch.randint(5, (3, 3))
    program = run(capture(model, given_inputs), [canonicalize])
    result = apply_once(program, compact, *given_inputs)
    assert heads_of(result) == 2
    table = result.graph.find_nodes(op="call_function", target=aten.embedding.default)[0].args[0]
    assert result.constants[str(table.target)].shape == (5, 2)
