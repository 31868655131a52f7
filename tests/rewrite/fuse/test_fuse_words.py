"""fuse_words: rounding moves into the operator before, and nowhere else."""

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
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_epilogues import fuse_epilogue
from l0compile.rewrite.fuse.fuse_words import fuse_words
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

l0 = torch.ops.l0compile
layout = partial(pack_tokens, lanes=4, rows=4)
WIDTH = 8


class Integers(nn.Module):
    """A layer of 8-bit integers, [..., 8] -> [..., n]."""

    def __init__(self, n: int = WIDTH, scale: float = 30.0) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (n, WIDTH), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(n) * 1e-3)
        self.register_buffer("inverse", torch.full((WIDTH,), scale))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = l0.int8_linear(l0.quantize(x, self.inverse, 120), self.weight, self.scale, None, 120)
        return found


class Pairs(nn.Module):
    """A layer of bfloat16 numbers, [..., 8] -> [..., 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(WIDTH, WIDTH).bfloat16())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = l0.bfloat16_linear(x, self.weight, None)
        return found


class Parts(nn.Module):
    """Layers for a formula of x [2, 3, 8]."""

    def __init__(self, formula: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.formula = formula
        self.a, self.b, self.other, self.six = Integers(), Integers(), Integers(scale=20.0), Integers(6)
        self.p, self.r, self.plain = Pairs(), Pairs(), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found: Tensor = l0.attention(q, k, v, None, 2, 0.5, None, None, "bfloat16")
        return found

    def rms(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (WIDTH,), self.norm.weight, 1e-6)

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def packed(formula: Callable[[Any, Tensor], Any], x: Tensor, dynamic: Any = None) -> Program:
    torch.manual_seed(0)
    program = capture(Parts(formula).eval(), (x,), dynamic_shapes=dynamic)
    return run(program, [canonicalize, layout, fuse_epilogue])


def roundings(program: Program) -> list[str]:
    """Operators that only round, by name."""
    names = ("packed_quantize", "packed_bfloat16", "packed_token_pairs")
    found = [
        node.target.name().split("::")[1] for node in program.graph.nodes if hasattr(node.target, "_schema")
    ]
    return [name for name in found if name in names]


# A formula, and the roundings that are left: the first is always that of the input.
CASES: dict[str, tuple[Callable[[Any, Tensor], Any], list[str]]] = {
    "a layer": (lambda m, x: m.b(m.a(x)), ["packed_quantize"]),
    "its activation": (lambda m, x: m.b(F.gelu(m.a(x))), ["packed_quantize"]),
    "two readers with the same scales": (lambda m, x: (m.a(h := m.p(x)), m.b(h)), ["packed_bfloat16"]),
    "two readers with other scales": (
        lambda m, x: (m.other(h := m.p(x)), m.b(h)),
        ["packed_bfloat16", "packed_quantize", "packed_quantize"],
    ),
    "pairs for a layer of pairs": (lambda m, x: m.r(m.p(x)), ["packed_bfloat16"]),
    "pairs of a layer of integers": (lambda m, x: m.r(m.a(x)), ["packed_quantize"]),
    "not with a residual": (lambda m, x: m.b(m.a(x) + x), ["packed_quantize", "packed_quantize"]),
    "not where others read it": (lambda m, x: (m.b(h := m.a(x)), h), ["packed_quantize", "packed_quantize"]),
    "not a layer of float32": (lambda m, x: m.b(m.plain(x)), ["packed_quantize"]),
    "not the last two of six rows": (
        lambda m, x: (F.pad(m.six(x), (0, 2)), m.b(m.six(x).repeat(1, 1, 2)[..., :8])),
        ["packed_quantize", "packed_quantize"],
    ),
    "keys, values and the result of attention": (
        lambda m, x: m.b(m.attention(m.a(x), m.b(x), m.p(x))),
        ["packed_quantize", "packed_bfloat16"],
    ),
    "pairs of attention": (
        lambda m, x: m.r(m.attention(h := m.a(x), h, h)),
        ["packed_quantize", "packed_bfloat16", "packed_token_pairs"],
    ),
    "a norm": (lambda m, x: m.b(m.norm(x)), []),
    "a norm that others read": (lambda m, x: x + m.b(h := m.norm(x)) + h, []),
    "a norm and pairs": (lambda m, x: (m.p(h := m.rms(x)), h), []),
    "a norm, one kind of words": (lambda m, x: (m.p(h := m.norm(x)), m.b(h)), ["packed_quantize"]),
    "a norm read before its words": (lambda m, x: ((h := m.norm(x)).exp(), m.b(h)), []),
}  # fmt: skip


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
@pytest.mark.parametrize(("formula", "left"), CASES.values(), ids=CASES)
def test_what_is_fused(
    formula: Callable[[Any, Tensor], Any], left: list[str], dynamic: Any, apply_once: Callable[..., Program]
) -> None:
    x = torch.randn(2, 3, WIDTH)
    result = apply_once(packed(formula, x, dynamic), fuse_words, x)
    assert roundings(result) == left


STEPS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "a": lambda m, x, h: m.a(h),
    "other": lambda m, x, h: m.other(h),
    "pairs": lambda m, x, h: m.p(h),
    "plain": lambda m, x, h: m.plain(h),
    "gelu": lambda m, x, h: F.gelu(h),
    "skip": lambda m, x, h: x + h,
    "both": lambda m, x, h: m.a(h) + m.other(h),
    "norm": lambda m, x, h: m.norm(h),
    "rms": lambda m, x, h: m.rms(h),
    "attention": lambda m, x, h: m.attention(m.a(h), m.p(h), m.b(h)),
}


@settings(max_examples=20)
@given(steps=st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=7))
def test_any_chain_keeps_its_answers(apply_once: Callable[..., Program], steps: list[str]) -> None:
    def formula(m: Any, x: Tensor) -> Tensor:
        h = x
        for step in steps:
            h = STEPS[step](m, x, h)
        return h

    x = torch.randn(2, 3, WIDTH)
    apply_once(packed(formula, x), fuse_words, x)
