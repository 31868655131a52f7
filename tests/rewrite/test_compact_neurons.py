"""compact, feed-forward: dead channels go with their constants folded; coupled channels stay, with the reason."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

aten = torch.ops.aten


class Feed(nn.Module):
    """linear -> pointwise chain with a vector -> two readers, beside a gated pair."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.left, self.right = nn.Linear(5, 9), nn.Linear(5, 7), nn.Linear(5, 7)
        self.one, self.two, self.pair = nn.Linear(9, 4), nn.Linear(9, 3, bias=False), nn.Linear(7, 4)
        self.shift = nn.Parameter(torch.randn(9))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.sigmoid(self.up(x)) * 1.5 + self.shift
        pair = F.silu(self.left(x)) * self.right(x)
        return self.one(h) + self.pair(pair), self.two(h)


def shapes(program: Program) -> list[tuple[int, ...]]:
    nodes = program.graph.find_nodes(op="call_function", target=aten.linear.default)
    return [tuple(program.constants[str(node.args[1].target)].shape) for node in nodes]


BASE = capture(Feed().eval(), (torch.randn(2, 3, 5),), dynamic_shapes={0: "batch", 1: "tokens"})


@settings(max_examples=40)
@given(
    st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)), st.sets(st.integers(0, 6)), st.sets(st.integers(0, 6)),
    st.booleans(),
)  # fmt: skip
def test_rules_1_and_3(
    rows: set[int], columns: set[int], left: set[int], pair: set[int], zero_bias: bool
) -> None:
    program = zeroed(BASE, rows, columns, left, pair, zero_bias)
    result = run(program, [compact])
    x = torch.randn(3, 2, 5)
    torch.testing.assert_close(result.run(x), program.run(x), rtol=1e-5, atol=1e-5)
    sizes = dict(zip(("up", "left", "right", "one", "two", "pair"), sizes_of(result), strict=True))
    if len(rows | columns) < 9:
        assert sizes["up"] == 9 - len(rows | columns)
    dead_pairs = pair | (left if zero_bias else set())
    if len(dead_pairs) < 7:
        assert sizes["left"] == sizes["right"] == 7 - len(dead_pairs)
    assert run(result, [compact]).history[-1].changed == 0


def zeroed(
    program: Program, rows: set[int], columns: set[int], left: set[int], pair: set[int], zero_bias: bool
) -> Program:
    constants = {name: value.clone() for name, value in program.constants.items()}
    constants["up.weight"][list(rows)] = 0.0
    for name in ("one.weight", "two.weight"):
        constants[name][:, list(columns)] = 0.0
    constants["left.weight"][list(left)] = 0.0
    if (
        zero_bias
    ):  # silu(0) = 0, and zero times anything is zero; silu(bias) times the other half is not constant
        constants["left.bias"][list(left)] = 0.0
    constants["pair.weight"][:, list(pair)] = 0.0
    return program.with_graph(program.graph, constants)


def sizes_of(program: Program) -> list[int]:
    """Width of the inner channels, in the order up, left, right, one, two, pair."""
    found = {}
    for node in program.graph.find_nodes(op="call_function", target=aten.linear.default):
        name = str(node.args[1].target).split(".")[0]
        n, k = program.constants[str(node.args[1].target)].shape
        found[name] = n if name in ("up", "left", "right") else k
    return [found[name] for name in ("up", "left", "right", "one", "two", "pair")]


def test_a_chain_is_compacted_at_once(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:2] = 0.0
        model[2].weight[:, 2] = 0.0
        model[4].weight[:, 5:] = 0.0
    result = apply_once(captured(model, torch.randn(3, 4)), compact, torch.randn(3, 4))
    assert shapes(result) == [(3, 4), (5, 3), (2, 5)]


def test_rule_8_tied_layers_are_cut_apart(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.last = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.linear(self.linear(x).relu()).relu())

    model = Tied()
    with torch.no_grad():
        model.last.weight[:, :4] = 0.0
    result = apply_once(captured(model, torch.randn(3, 6)), compact, torch.randn(3, 6))
    assert shapes(result) == [(6, 6), (2, 6), (2, 2)]


class Coupled(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.up, self.down, self.norm = nn.Linear(6, 6), nn.Linear(6, 3), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> object:
        h = self.up(x)
        match self.kind:
            case "residual":
                return self.down(h + x)
            case "joined":
                return self.down(h + x.cumsum(-1))
            case "norm":
                return self.down(self.norm(h))
            case "output":
                return self.down(h), h
            case _:
                return self.down(h.flip(-1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("residual", "an input of the model"),
        ("joined", "aten.cumsum.default"),
        ("norm", "a norm or mean over them counts each one"),
        ("output", "an output of the model"),
        ("unknown", "aten.flip.default"),
    ],
)
def test_rules_4_and_7_refusals(
    kind: str, words: str, captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = Coupled(kind)
    with torch.no_grad():
        model.up.weight[:2] = 0.0
        model.down.weight[:, 3] = 0.0
    program = run(captured(model, torch.randn(4, 6)), [canonicalize, record_regions])
    result = apply_once(program, compact, torch.randn(4, 6))
    assert shapes(result) == [(6, 6), (3, 6)]
    reason = next(region for region in result.regions if region.name == "down").reason
    assert words in reason and ("are dead but stay" in reason) == bool(words)


def test_constants_that_vary_by_position_stay(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 3)
            self.positions = nn.Parameter(torch.rand(5, 6) + 2)  # past the activation in every channel

        def forward(self, x: Tensor) -> Tensor:
            return self.down(torch.relu(self.up(x) + self.positions))

    model = Positions()
    with torch.no_grad():
        model.up.weight[:3] = 0.0
        model.down.weight[:, 5] = 0.0
    result = apply_once(captured(model, torch.randn(2, 5, 4)), compact, torch.randn(2, 5, 4))
    assert shapes(result) == [(5, 4), (3, 5)]


@pytest.mark.parametrize(("dead", "kept"), [(7, 128), (8, 120), (9, 119), (16, 112), (100, 28)])
def test_a_few_dead_channels_stay_for_the_sake_of_whole_vectors(
    dead: int, kept: int, captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = nn.Sequential(nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 2))
    with torch.no_grad():
        model[2].weight[:, :dead] = 0.0
    result = apply_once(captured(model, torch.randn(3, 4)), compact, torch.randn(3, 4))
    assert shapes(result) == [(kept, 4), (2, kept)]
