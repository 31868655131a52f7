"""pack_tokens: packed from the first layer to the last, and whatever does not fit stays in rows."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.ops.bsr import dense_blocks, to_blocks
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_attention import fuse_attention
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

aten, l0 = torch.ops.aten, torch.ops.l0compile
layout = partial(pack_tokens, lanes=4, rows=4)


class Parts(nn.Module):
    """Layers and constants for a formula of them and of the input [B, S, 6]."""

    def __init__(self, formula: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.formula = formula
        self.a, self.b, self.one = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.norm, self.free = nn.LayerNorm(6), nn.LayerNorm(6, elementwise_affine=False)
        self.unbiased = nn.LayerNorm(6, bias=False)
        self.vector, self.matrix = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(3, 6))
        self.column = nn.Parameter(torch.randn(6, 1))
        self.wide = nn.Parameter(torch.randn(6, dtype=torch.float64))
        self.number = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def program_of(formula: Callable[[Any, Tensor], Any], x: Tensor, dynamic: Any = None) -> Program:
    torch.manual_seed(0)
    return run(capture(Parts(formula).eval(), (x,), dynamic_shapes=dynamic), [canonicalize])


def operators(program: Program) -> list[str]:
    """Names of the operators in order, without those on sizes."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    names = [str(node.target) for node in calls if isinstance(node.meta["val"], torch.Tensor)]
    return [".".join(name.split(".")[1:-1]) for name in names]


# What becomes of a formula: the operators after the pass, in order.
PACKED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "linear": (lambda m, x: m.a(x), "pack packed_linear unpack"),
    "layer norm": (lambda m, x: m.norm(x), "pack packed_layer_norm unpack"),
    "layer norm without affine": (lambda m, x: m.free(x), "pack packed_layer_norm unpack"),
    "layer norm without bias": (lambda m, x: m.unbiased(x), "pack packed_layer_norm unpack"),
    "layer norm without weight": (
        lambda m, x: F.layer_norm(x, (6,), None, m.vector, 0.1), "pack packed_layer_norm unpack",
    ),
    "packed once for two readers": (lambda m, x: m.a(x) + m.b(x), "pack packed_linear packed_linear add unpack"),
    "elementwise": (lambda m, x: m.b(torch.tanh(m.a(x)).abs()), "pack packed_linear tanh abs packed_linear unpack"),
    "gelu keeps its form": (lambda m, x: F.gelu(m.a(x), approximate="tanh"), "pack packed_linear gelu unpack"),
    "constant on the right": (lambda m, x: m.a(x) * m.vector, "pack packed_linear mul unpack"),
    "constant on the left": (lambda m, x: m.vector - m.a(x), "pack packed_linear sub unpack"),
    "constant divided": (lambda m, x: m.vector / (m.a(x).abs() + 1), "pack packed_linear abs add div unpack"),
    "constant number": (lambda m, x: m.number * m.a(x), "pack packed_linear mul unpack"),
    "constant with factor": (lambda m, x: torch.add(m.vector, m.a(x), alpha=3), "pack packed_linear add unpack"),
    "one feature": (lambda m, x: m.one(x) * m.number, "pack packed_linear mul unpack"),
    "a feature axis of one": (lambda m, x: m.one(x) * m.vector, "pack packed_linear mul unpack"),
    "operand from rows on the left": (lambda m, x: x.sin() - m.a(x), "pack sin pack packed_linear sub unpack"),
    "nothing to gain": (lambda m, x: x.relu() + m.vector, "relu add"),
}  # fmt: skip

VIEWS: dict[str, Callable[[Any, Tensor], Any]] = {
    "flatten": lambda m, x: m.b(m.a(x).flatten(0, 1)),
    "reshape": lambda m, x: m.b(m.a(x).reshape(-1, 6)).reshape(x.shape),
    "unflatten": lambda m, x: m.b(m.a(x).unflatten(0, (-1, 1))),
    "unsqueeze": lambda m, x: m.b(m.a(x).unsqueeze(0).unsqueeze(2)),
    "squeeze": lambda m, x: m.b(m.a(x.unsqueeze(1)).squeeze(1)),
    "squeeze two": lambda m, x: m.b(m.a(x[:, None, None]).squeeze((1, 2))),
}

# Operators that must stay as they are, before a linear layer or after it.
ROWS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "float64": (lambda m, x: F.linear(x.double(), m.a.weight.double()), "linear"),
    "computed weight": (lambda m, x: F.linear(x, x[0, :2]), "linear"),
    "computed bias": (lambda m, x: F.linear(x, m.a.weight, x[0, 0]), "linear"),
    "weight of one output": (lambda m, x: F.linear(x, m.vector), "linear"),
    "one token without axes": (lambda m, x: F.linear(x[0, 0], m.a.weight), "linear"),
    "norm over two axes": (lambda m, x: F.layer_norm(x, (3, 6)), "layer_norm"),
    "norm with computed weight": (lambda m, x: F.layer_norm(x, (6,), x[0, 0], x[0, 1]), "layer_norm"),
    "positions": (lambda m, x: m.a(x) + m.matrix, "unpack add"),
    "a column": (lambda m, x: m.a(x[:, :1].expand(-1, 6, -1)) + m.column, "unpack add"),
    "a batch of one": (lambda m, x: m.a(x[:1]) + x, "unpack add"),
    "a computed vector": (lambda m, x: m.a(x) + x[0, 0], "select add"),
    "another dtype": (lambda m, x: m.a(x) * m.wide, "unpack mul"),
    "other features": (lambda m, x: m.a(x).reshape(2, 3, 3, 2), "unpack reshape"),
    "moved tokens": (lambda m, x: m.a(x).transpose(0, 1), "unpack transpose"),
    "a reduction": (lambda m, x: m.a(x).mean(1), "unpack mean"),
}


@pytest.mark.parametrize(("formula", "expected"), PACKED.values(), ids=PACKED)
def test_packed(formula: Any, expected: str, apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    assert operators(apply_once(program_of(formula, x), layout, x)) == expected.split()


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("formula", VIEWS.values(), ids=VIEWS)
def test_a_view_of_whole_tokens_costs_nothing(
    formula: Any, dynamic: Any, apply_once: Callable[..., Program]
) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(program_of(formula, x, dynamic), layout, x)
    names = operators(result)
    assert names[names.index("pack") :] == ["pack", "packed_linear", "packed_linear", "unpack"]


@pytest.mark.parametrize(("formula", "kept"), ROWS.values(), ids=ROWS)
def test_stays_in_rows(formula: Any, kept: str, apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    assert operators(apply_once(program_of(formula, x), layout, x))[-len(kept.split()) :] == kept.split()


def test_a_symbolic_feature_axis_stays_in_rows(count: Callable[..., int]) -> None:
    class Normalise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x, x.shape[-1:])

    program = capture(Normalise().eval(), (torch.randn(2, 6),), dynamic_shapes={"x": {1: "features"}})
    assert layout(program) is program and count(program, aten.layer_norm.default) == 1


def test_readers_of_both_kinds(apply_once: Callable[..., Program]) -> None:
    def formula(m: Any, x: Tensor) -> Any:
        h = m.a(x)
        return m.b(h), h.mean(0), h.sum(1), h

    x = torch.randn(2, 3, 6)
    result = apply_once(program_of(formula, x), layout, x)
    # h is unpacked once for all its readers in rows, and read packed by the second layer.
    names = operators(result)
    assert (
        names[0] == "pack" and names.count("packed_linear") == names.count("unpack") == 2 and len(names) == 7
    )


def test_values_changed_in_place(apply_once: Callable[..., Program]) -> None:
    def formula(m: Any, x: Tensor) -> Any:
        h = m.a(x)
        view = h.view(-1, 6)
        view.mul_(2.0)
        before = m.b(h)
        h.relu_().add_(m.vector)
        return h, before, view

    x = torch.randn(2, 3, 6)
    module = Parts(formula).eval()
    program = run(capture(module, (x,)), [canonicalize])
    result = apply_once(program, layout, x)
    for got, expected in zip(result.run(x), module(x), strict=True):
        torch.testing.assert_close(got, expected)


def test_one_constant_for_a_shared_weight(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(program_of(lambda m, x: m.b(m.a(torch.tanh(m.a(x)))), x), layout, x)
    assert count(result, l0.packed_linear.default) == 3
    assert sorted(name for name in result.constants if "packed" in name) == [
        "a.weight_packed",
        "b.weight_packed",
    ]


def test_origin_is_kept() -> None:
    x = torch.randn(2, 3, 6)
    result = run(program_of(lambda m, x: torch.tanh(m.a(x)) * m.vector, x), [layout])
    nodes = [n for n in result.graph.nodes if n.op == "call_function" and "pack" not in str(n.target)]
    assert len(nodes) == 2 and all(Path(__file__).name in node.meta["stack_trace"] for node in nodes)


@given(n=st.integers(1, 9), k=st.integers(1, 7), rows=st.integers(1, 5))
def test_dense_blocks_are_blocks_of_one_column(n: int, k: int, rows: int) -> None:
    weight = torch.randn(n, k)
    data, _, _ = to_blocks(weight, rows, 1)
    assert torch.equal(dense_blocks(weight, rows), data)


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(10, 6) * (torch.rand(10, 6) < 0.4)
        for name, value in zip(("data", "indices", "indptr"), to_blocks(weight, 4, 1), strict=True):
            self.register_buffer(name, value)
        self.bias = nn.Parameter(torch.randn(10))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(l0.bsr_linear(x, self.data, self.indices, self.indptr, self.bias, 10, 6))


def test_block_sparse(captured: Callable[..., Program], apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(captured(Sparse(), x), layout, x)
    assert operators(result) == ["pack", "packed_linear", "relu", "unpack"]
    node = result.graph.find_nodes(op="call_function", target=l0.packed_linear.default)[0]
    assert [str(argument) for argument in node.args[2:4]] == ["b_indices", "b_indptr"]


class Attend(nn.Module):
    """Cross attention with values of ``width`` features: queries and keys of 4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(6, width)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        return l0.attention(self.q(x), self.k(y), self.v(y), mask, 2, 0.5, None, None)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3, 5), (3, 6, 2)])
def test_cross_attention_of_any_size(sizes: tuple[int, int, int], count: Callable[..., int]) -> None:
    def inputs(b: int, s: int, t: int) -> tuple[Tensor, ...]:
        return torch.randn(b, s, 6), torch.randn(b, t, 6), torch.rand(b, 1, s, t) < 0.7

    names: Any = {"x": {0: "b", 1: "s"}, "y": {0: "b", 1: "t"}, "mask": {0: "b", 2: "s", 3: "t"}}
    program = capture(Attend(4).eval(), inputs(2, 3, 5), dynamic_shapes=names)
    result = run(program, [layout])
    assert count(result, l0.pack.default) == 2 and count(result, l0.unpack.default) == 1
    given = inputs(*sizes)
    torch.testing.assert_close(result.run(*given), program.run(*given))


@pytest.mark.parametrize("shape", [(2, 1, 3, 5), (1, 2, 3, 5), (2, 1, 1, 5)], ids=str)
@pytest.mark.parametrize("boolean", [True, False])
def test_attention_with_other_value_width_and_any_mask(
    shape: tuple[int, ...], boolean: bool, captured: Callable[..., Program], apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:  # fmt: skip
    mask = torch.rand(shape) < 0.7
    inputs = torch.randn(2, 3, 6), torch.randn(2, 5, 6), mask if boolean else mask.float()
    result = apply_once(captured(Attend(8), *inputs), layout, *inputs)
    assert count(result, l0.packed_attention.default) == 1 and count(result, l0.packed_linear.default) == 3
    # Only a mask that differs between queries is brought into lanes.
    assert count(result, l0.pack_mask.default) == (shape[2] > 1)


@settings(max_examples=10)
@given(
    batch=st.integers(1, 4),
    length=st.integers(1, 7),
    lanes=st.sampled_from([1, 4, 16]),
    rows=st.integers(1, 7),
)
def test_transformer_packs_only_at_its_edges(
    prenorm_program: Program, make_tokens: Callable[..., tuple[Tensor, Tensor]], apply_once: Callable[..., Program],
    count: Callable[..., int], batch: int, length: int, lanes: int, rows: int,
) -> None:  # fmt: skip
    program = run(prenorm_program, [canonicalize, fuse_attention, canonicalize])
    step = partial(pack_tokens, lanes=lanes, rows=rows)
    result = apply_once(program, step, *make_tokens(batch, length))
    assert count(result, l0.pack.default) == count(result, l0.unpack.default) == 1
    assert count(result, l0.packed_attention.default) == 2 and count(result, l0.packed_linear.default) == 12
    for op in (aten.linear, aten.layer_norm, l0.attention):
        assert count(result, op.default) == 0
