"""fuse_epilogue: activation, then residual, move into the linear that feeds them, and nothing else does."""

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
from l0compile.ir.ops import activation
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_epilogues import fuse_epilogue
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

aten, packed_linear = torch.ops.aten, torch.ops.l0compile.packed_linear.default
layout = partial(pack_tokens, lanes=4, rows=4)
ACTIVATIONS = {name: function for name, function in activation.PLAIN.items() if name}


class Tail(nn.Module):
    """Two linear layers and a formula of their results and of the input, all [2, 3, 6]."""

    def __init__(self, formula: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.formula = formula
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        return self.formula(self, x)


def packed(formula: Callable[[Any, Tensor], Any], x: Tensor, dynamic: Any = None) -> Program:
    torch.manual_seed(0)
    return run(capture(Tail(formula).eval(), (x,), dynamic_shapes=dynamic), [canonicalize, layout])


def epilogues(program: Program) -> list[tuple[str, bool]]:
    """(activation, whether it has a residual) of each packed linear, in order."""
    nodes = program.graph.find_nodes(op="call_function", target=packed_linear)
    return [(node.args[7], node.args[5] is not None) for node in nodes]


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
def test_activation_then_residual(dynamic: Any, apply_once: Callable[..., Program]) -> None:
    x = torch.randn(2, 3, 6)
    program = packed(lambda m, x: tuple(x + f(m.a(x)) for f in ACTIVATIONS.values()), x, dynamic)
    result = apply_once(program, fuse_epilogue, x)
    assert epilogues(result) == [(name, True) for name in ACTIVATIONS]
    assert len(result.graph.nodes) == len(program.graph.nodes) - 2 * len(ACTIVATIONS)


FUSED: dict[str, tuple[Callable[[Any, Tensor], Any], list[tuple[str, bool]]]] = {
    "residual on the right": (lambda m, x: m.a(x) + x, [("", True)]),
    "residual on the left": (lambda m, x: x + m.a(x), [("", True)]),
    "a factor of one": (lambda m, x: torch.add(x, m.a(x), alpha=1), [("", True)]),
    "the later of two linears": (lambda m, x: m.a(x) + m.b(x), [("", False), ("", True)]),
    "the later, written first": (
        lambda m, x: torch.add(*reversed((m.a(x), m.b(x)))),
        [("", False), ("", True)],
    ),
    "a chain": (lambda m, x: (h := x + m.a(x)) + m.b(h), [("", True), ("", True)]),
    "one of two residuals": (lambda m, x: m.a(x) + x + x.exp(), [("", True)]),
    "one of two activations": (lambda m, x: torch.tanh(F.relu(m.a(x))), [("relu", False)]),
    "clamped like relu": (lambda m, x: m.a(x).clamp(min=0), [("relu", False)]),
    "clamped like relu6": (
        lambda m, x: m.a(x).clamp(0, 6) + F.hardtanh(m.b(x), 0.0, 6.0),
        [("relu6", False), ("relu6", True)],
    ),
    "clamped in another way": (
        lambda m, x: m.a(x).clamp(0, 5) + m.b(x).clamp(max=6),
        [("", False), ("", False)],
    ),
    "no activation after a residual": (lambda m, x: F.relu(m.a(x) + x), [("", True)]),
    "no residual computed from it": (lambda m, x: (h := m.a(x)) + h.exp(), [("", False)]),
    "no residual computed after it": (lambda m, x: m.a(x) + F.layer_norm(x, (6,)), [("", False)]),
    "not twice the result": (lambda m, x: (h := m.a(x)) + h, [("", False)]),
    "no second reader of the activation": (lambda m, x: (F.relu(h := m.a(x)), h), [("", False)]),
    "no second reader of the sum": (lambda m, x: (x + (h := m.a(x)), h), [("", False)]),
    "no other factor": (lambda m, x: torch.add(x, m.a(x), alpha=2), [("", False)]),
    "no difference": (lambda m, x: x - m.a(x), [("", False)]),
    "no number": (lambda m, x: m.a(x) + 1.0, [("", False)]),
    "no constant per feature": (lambda m, x: m.a(x) + m.b.bias, [("", False)]),
    "no operator between": (lambda m, x: F.relu(m.a(x) * 2), [("", False)]),
}


@pytest.mark.parametrize(("formula", "expected"), FUSED.values(), ids=FUSED)
def test_what_is_fused(
    formula: Callable[[Any, Tensor], Any],
    expected: list[tuple[str, bool]],
    apply_once: Callable[..., Program],
) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(packed(formula, x), fuse_epilogue, x)
    assert epilogues(result) == expected


STEPS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "a": lambda m, x, h: m.a(h),
    "b": lambda m, x, h: m.b(h),
    "skip": lambda m, x, h: x + h,
    "double": lambda m, x, h: h + h,
    "shift": lambda m, x, h: h + m.a.bias,
    "both": lambda m, x, h: m.a(h) + m.b(h),
    **{name: lambda m, x, h, act=act: act(h) for name, act in ACTIVATIONS.items()},  # type: ignore[misc]
}


@settings(max_examples=10)
@given(steps=st.lists(st.sampled_from(list(STEPS)), min_size=1, max_size=6))
def test_any_chain_keeps_its_answers(apply_once: Callable[..., Program], steps: list[str]) -> None:
    def formula(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        for name in steps:
            h = STEPS[name](m, x, h)
        return h

    x = torch.randn(2, 3, 6)
    result = apply_once(packed(formula, x), fuse_epilogue, x)
    assert result.graph.find_nodes(op="call_function", target=packed_linear)
