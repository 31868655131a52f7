"""split_linear and matmul_to_linear: pieces of a layer are layers, and what reads it otherwise keeps it whole."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.normalize.matmul_to_linear import matmul_to_linear
from l0compile.rewrite.normalize.split_linear import split_linear
from l0compile.rewrite.runner import run

aten = torch.ops.aten
LINEAR = aten.linear.default
HEADS, WIDTH = 2, 4


class Cut(nn.Module):
    def __init__(
        self, formula: Callable[[nn.Module, Tensor], Any], features: int = 3 * HEADS * WIDTH
    ) -> None:
        super().__init__()
        self.formula, self.qkv = formula, nn.Linear(6, features)

    def forward(self, x: Tensor) -> Any:
        return self.formula(self.qkv, x)


def vit(f: nn.Module, x: Tensor) -> Any:
    q, k, v = f(x).reshape(*x.shape[:2], 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v)


def neox(f: nn.Module, x: Tensor) -> Any:
    return f(x).view(*x.shape[:2], HEADS, 3 * WIDTH).transpose(1, 2).chunk(3, dim=-1)


def torch_attention(f: nn.Module, x: Tensor) -> Any:
    packed = f(x).unflatten(-1, (3, HEADS * WIDTH)).unsqueeze(0).transpose(0, -2).squeeze(-2).contiguous()
    return packed[0], packed[1], packed[2]


def gpt2(f: nn.Module, x: Tensor) -> Any:
    flat = torch.addmm(f.bias, x.view(-1, 6), f.weight.t())
    return flat.view(*x.shape[:2], flat.shape[-1]).split(HEADS * WIDTH, dim=2)


# Formula and number of layers afterwards.
PIECES: dict[str, tuple[Callable[[Any, Tensor], Any], int]] = {
    "split": (lambda f, x: f(x).split(8, -1), 3),
    "split into sizes": (lambda f, x: f(x).split([4, 12, 8], 2), 3),
    "chunk": (lambda f, x: f(x).chunk(2, -1), 2),
    "slices": (lambda f, x: (f(x)[..., :8], f(x)[..., 8:]), 2),
    "slices of one result": (lambda f, x: (lambda y: (y[..., :8], y[..., -8:]))(f(x)), 2),
    "one slice": (lambda f, x: f(x)[..., 4:8], 1),
    "gated": (lambda f, x: (lambda p: F.silu(p[0]) * p[1])(f(x).chunk(2, -1)), 2),
    "select": (lambda f, x: (lambda y: (y[:, :, 0], y[:, :, -1]))(f(x).view(*x.shape[:2], 3, 8)), 2),
    "unbind": (lambda f, x: f(x).unflatten(-1, (3, 8)).unbind(2), 3),
    "vit": (vit, 3),
    "neox": (neox, 3),
    "torch attention": (torch_attention, 3),
    "gpt2": (gpt2, 3),
}

WHOLE: dict[str, Callable[[Any, Tensor], Any]] = {
    "another reader": lambda f, x: (lambda y: (*y.split(8, -1), y.sum()))(f(x)),
    "tokens": lambda f, x: f(x).split(1, 1),
    "tokens and features mixed": lambda f, x: f(x).reshape(2, 9, 8).unbind(1)[0],
    "steps": lambda f, x: f(x)[..., ::2],
    "overlapping": lambda f, x: (lambda y: (y[..., :16], y[..., 4:]))(f(x)),
    "a single feature": lambda f, x: f(x).split([1, 23], -1),
    "the whole": lambda f, x: f(x).split(24, -1)[0],
    "computed weight": lambda f, x: F.linear(x, x[0, 0].expand(12, 6)).chunk(2, -1),
}


def prepared(formula: Callable[[Any, Tensor], Any], x: Tensor, dynamic: Any = None) -> Program:
    torch.manual_seed(0)
    program = capture(Cut(formula).eval(), (x,), dynamic_shapes=dynamic)
    return run(program, [canonicalize, fold_constants, matmul_to_linear, canonicalize])


@pytest.mark.parametrize("name", PIECES)
def test_pieces(name: str, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    x = torch.randn(2, 3, 6)
    formula, layers = PIECES[name]
    result = apply_once(prepared(formula, x), split_linear, x)
    assert count(result, LINEAR) == layers
    cuts = (
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.chunk.default,
        aten.unbind.int,
        aten.slice.Tensor,
    )
    assert not any(count(result, cut) for cut in (*cuts, aten.select.int))


@pytest.mark.parametrize("name", ["vit", "gpt2", "torch attention"])
def test_symbolic_sizes(name: str, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    program = prepared(PIECES[name][0], torch.randn(2, 3, 6), {"x": {0: "batch", 1: "length"}})
    assert count(apply_once(program, split_linear, torch.randn(3, 5, 6)), LINEAR) == 3


@pytest.mark.parametrize("name", WHOLE)
def test_whole(name: str) -> None:
    program = prepared(WHOLE[name], torch.randn(2, 3, 6))
    assert split_linear(program) is program


@settings(max_examples=5)
@given(
    grid=st.lists(st.integers(1, 4), min_size=1, max_size=3), axis=st.integers(0, 2), swap=st.integers(0, 4),
    size=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_grid(
    grid: list[int], axis: int, swap: int, size: int, seed: int, apply_once: Callable[..., Program]
) -> None:
    """Features in any grid, an axis swapped with another, and cut along any feature axis; whole or not, the same."""
    torch.manual_seed(seed)
    axis, swap = 2 + axis % len(grid), swap % (2 + len(grid))

    def formula(f: nn.Module, x: Tensor) -> Any:
        return f(x).reshape(*x.shape[:2], *grid).transpose(axis, swap).split(size, dim=swap)

    x = torch.randn(2, 3, 6)
    features = int(torch.tensor(grid).prod())
    program = run(capture(Cut(formula, features).eval(), (x,)), [canonicalize])
    apply_once(program, split_linear, x)


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Any:
        flat = x.view(-1, 6)
        scaled = torch.addmm(self.b, flat, self.w, alpha=2.0), torch.addmm(flat[0, :4], flat, self.w)
        return torch.addmm(self.b, flat, self.w), torch.mm(flat, self.w), x @ self.w, scaled, flat @ flat.t()


def test_products_with_constant_weights(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    x = torch.randn(2, 3, 6)
    result = apply_once(captured(Products(), x), matmul_to_linear, x)
    assert count(result, LINEAR) == 3 and count(result, aten.addmm.default) == 2
    assert sum(value.shape == (4, 6) for value in result.constants.values()) == 1  # tied weights stay tied
