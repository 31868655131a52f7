"""keep_rows: a linear layer that packing would serve alone reads and writes rows; all others stay packed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.ops.bsr import to_blocks
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_epilogues import fuse_epilogue
from l0compile.rewrite.layout.rows import keep_rows
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

aten, l0 = torch.ops.aten, torch.ops.l0compile
LANES = 4
rows = partial(keep_rows, lanes=LANES)


class Layers(nn.Module):
    """Dense and block-sparse layers for a formula of them and of the input [..., 6]."""

    def __init__(self, formula: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.formula = formula
        self.a, self.b, self.wide = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 40)
        self.norm = nn.LayerNorm(6)
        weight = torch.randn(6, 6) * (torch.rand(6, 6) < 0.5)
        for name, part in zip(("data", "indices", "indptr"), to_blocks(weight, 2, 1), strict=True):
            self.register_buffer(name, part)

    def sparse(self, x: Tensor) -> Any:
        return l0.bsr_linear(x, self.data, self.indices, self.indptr, self.a.bias, 6, 6)

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def packed(formula: Callable[[Any, Tensor], Any], x: Tensor, dynamic: Any = None) -> Program:
    torch.manual_seed(0)
    layout = partial(pack_tokens, lanes=LANES, rows=2)
    passes = [canonicalize, layout, fuse_epilogue]
    return run(capture(Layers(formula).eval(), (x,), dynamic_shapes=dynamic), passes)


def operators(program: Program) -> str:
    """Names of the operators in order, without those on sizes."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    names = [str(node.target) for node in calls if isinstance(node.meta["val"], Tensor)]
    return " ".join(".".join(name.split(".")[1:-1]) for name in names)


# The operators after the pass, for six tokens, which fill a tile and a half.
MANY: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "dense": (lambda m, x: m.a(x), "rows_linear"),
    "with what follows": (lambda m, x: F.relu(m.wide(x)), "rows_linear"),
    "block-sparse": (lambda m, x: m.sparse(x), "rows_bsr_linear"),
    "block-sparse, with what follows": (lambda m, x: m.sparse(x).relu(), "rows_bsr_linear"),
    "another view": (lambda m, x: m.a(x.flatten(0, 1)).unflatten(0, (3, 2)), "flatten rows_linear reshape"),
    "two of one input": (lambda m, x: (m.a(x), m.sparse(x)), "rows_linear rows_bsr_linear"),
    "two readers of rows": (lambda m, x: (m.a(x).sum(0), m.a(x).mean(1)), "rows_linear sum rows_linear mean"),
    "packed results": (lambda m, x: m.b(m.a(x)), "pack packed_linear packed_linear unpack"),
    "packed tokens": (lambda m, x: m.a(m.norm(x)), "pack packed_layer_norm packed_linear unpack"),
    "a residual": (lambda m, x: m.a(x) + x, "pack packed_linear unpack"),
}  # fmt: skip
# The same for three tokens, which fill no tile.
FEW: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "one after the other": (lambda m, x: m.b(F.relu(m.a(x))), "rows_linear rows_linear"),
    "packed results": (lambda m, x: m.norm(m.a(x)), "rows_linear pack packed_layer_norm unpack"),
    "both": (lambda m, x: (m.norm(m.a(x)), m.a(x)), "rows_linear pack packed_layer_norm unpack rows_linear"),
    "before a block-sparse one": (lambda m, x: m.sparse(m.a(x)), "rows_linear rows_bsr_linear"),
}


@pytest.mark.parametrize(("formula", "expected"), MANY.values(), ids=MANY)
def test_many_tokens(formula: Any, expected: str, apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    assert operators(apply_once(packed(formula, x), rows, x)) == expected


@pytest.mark.parametrize(("formula", "expected"), FEW.values(), ids=FEW)
def test_few_tokens(formula: Any, expected: str, apply_once: Callable[..., Program]) -> None:
    x = torch.randn(3, 6)
    assert operators(apply_once(packed(formula, x), rows, x)) == expected


def test_a_block_sparse_layer_of_a_quarter_of_a_tile_stays_packed(apply_once: Callable[..., Program]) -> None:
    program = packed(lambda m, x: m.sparse(x), torch.randn(1, 6))
    assert rows(program) is program


@pytest.mark.parametrize("sparse", [False, True])
def test_a_number_of_tokens_that_only_the_call_knows(
    sparse: bool, apply_once: Callable[..., Program]
) -> None:
    """Kernels of packed tokens have code for one token; that of dense weights on rows needs none."""
    x = torch.randn(2, 3, 6)
    program = packed(lambda m, x: m.sparse(x) if sparse else m.a(x), x, {"x": {0: "batch", 1: "length"}})
    if sparse:
        assert rows(program) is program
    else:
        assert operators(apply_once(program, rows, x)) == "rows_linear"


def test_tied_layers_share_their_weight(apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(packed(lambda m, x: (m.a(x), F.linear(x.relu(), m.a.weight)), x), rows, x)
    made = result.graph.find_nodes(op="call_function", target=l0.rows_linear.default)
    assert len(made) == 2 and len({node.args[1].target for node in made}) == 1
    assert not any(name.endswith("_packed") for name in result.constants)


def test_the_weight_is_held_for_outputs_in_lanes(apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    (node,) = apply_once(packed(lambda m, x: m.wide(x), x), rows, x).graph.find_nodes(
        op="call_function", target=l0.rows_linear.default
    )
    assert node.args[1].meta["val"].shape == (3 * 6, 1, 16)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 9), st.booleans(), st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_results_stay_the_same(tokens: int, n: int, k: int, bias: bool, seed: int) -> None:
    torch.manual_seed(seed)
    first, second = nn.Linear(k, n, bias=bias), nn.Linear(n, k)
    x = torch.randn(tokens, k)
    model = nn.Sequential(first, nn.GELU(), second).eval().requires_grad_(False)
    layout = partial(pack_tokens, lanes=LANES, rows=2)
    program = run(capture(model, (x,)), [canonicalize, layout, fuse_epilogue, rows])
    torch.testing.assert_close(program.module()(x)[0], model(x), rtol=1e-5, atol=1e-6)
