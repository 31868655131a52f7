"""fuse_eager_attention: products around a softmax are attention, and what only looks like it stays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_eager_attention import fuse_eager_attention
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

SDPA = torch.ops.aten.scaled_dot_product_attention.default
INF = float("inf")
LIVE = torch.ones(3, 5, dtype=torch.bool).tril()


def attend(scores: Tensor, v: Tensor) -> Tensor:
    return scores.softmax(-1) @ v


# Of q [2, 2, 3, 4], k [2, 2, 5, 4] and v [2, 2, 5, 4]; the scale afterwards.
FORMS: dict[str, tuple[Callable[..., Any], float]] = {
    "plain": (lambda q, k, v: attend(q @ k.transpose(-1, -2), v), 1.0),
    "transformers": (
        lambda q, k, v: nn.functional.dropout(
            nn.functional.softmax(q @ k.transpose(2, 3) * 0.5 + q.sum((1, 3))[:, None, :, None], -1, torch.float32),
            0.1, False,
        ) @ v,
        0.5,
    ),
    "divided": (lambda q, k, v: attend(torch.matmul(q, k.permute(0, 1, 3, 2)) / 2.0, v), 0.5),
    "two masks": (
        lambda q, k, v: attend((2 * (q @ k.mT) + q.sum((0, 1, 3))[:, None]) + torch.where(LIVE, 0.0, -INF), v), 2.0,
    ),
    "filled": (lambda q, k, v: attend((q @ k.mT * 0.5).masked_fill(~LIVE, -INF), v), 0.5),
    "where": (lambda q, k, v: attend(torch.where(LIVE, q @ k.mT * 0.5, -INF), v), 0.5),
    "other widths": (lambda q, k, v: attend(q @ k.mT, v[..., :3]), 1.0),
}  # fmt: skip

# (scale, soft limit) of scores with one.
CAPPED: dict[str, tuple[Callable[..., Any], float, float]] = {
    "Gemma 2": (
        lambda q, k, v: attend(torch.tanh(q @ k.mT * 0.5 / 4.0) * 4.0 + torch.where(LIVE, 0.0, -INF), v), 0.5, 4.0,
    ),
    "product by the limit": (lambda q, k, v: attend(2.0 * torch.tanh((q @ k.mT) * 0.5), v), 1.0, 2.0),
    "of one": (lambda q, k, v: attend(torch.tanh(q @ k.mT).masked_fill(~LIVE, -INF), v), 1.0, 1.0),
}  # fmt: skip

OTHERS: dict[str, Callable[..., Any]] = {
    "weights are read": lambda q, k, v: (lambda w: (w @ v, w))((q @ k.mT).softmax(-1)),
    "over queries": lambda q, k, v: (q @ k.mT).softmax(-2) @ v,
    "not transposed": lambda q, k, v: (q @ k[..., :4, :]).softmax(-1) @ v[..., :4, :],
    "scaled after the mask": lambda q, k, v: attend((q @ k.mT).masked_fill(~LIVE, -INF) * 0.5, v),
    "filled with a number": lambda q, k, v: attend((q @ k.mT).masked_fill(~LIVE, -5.0), v),
    "shared values": lambda q, k, v: attend(q @ k.mT, v[:1, :1]),
    "a mask larger than the scores": lambda q, k, v: attend(q[:, :1] @ k[:, :1].mT + q[..., :1], v),
    "a negative limit": lambda q, k, v: attend(torch.tanh(q @ k.mT) * -2.0, v),
    "a limit of the masked scores": lambda q, k, v: attend(
        torch.tanh((q @ k.mT).masked_fill(~LIVE, -INF)) * 2.0, v
    ),
    "float64": lambda q, k, v: attend(q.double() @ k.double().mT, v.double()),
}


class Attend(nn.Module):
    def __init__(self, formula: Callable[..., Any]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
        return self.formula(q, k, v)


def program_of(formula: Callable[..., Any]) -> tuple[Program, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    inputs = torch.randn(2, 2, 3, 4), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    return run(capture(Attend(formula).eval(), inputs), [canonicalize]), inputs


@pytest.mark.parametrize("name", FORMS)
def test_forms(name: str, apply_once: Callable[..., Program]) -> None:
    formula, scale = FORMS[name]
    program, inputs = program_of(formula)
    result = apply_once(program, fuse_eager_attention, *inputs)
    (node,) = result.graph.find_nodes(op="call_function", target=SDPA)
    assert node.kwargs["scale"] == scale


@pytest.mark.parametrize("name", CAPPED)
def test_scores_with_a_soft_limit(name: str, apply_once: Callable[..., Program]) -> None:
    formula, scale, softcap = CAPPED[name]
    program, inputs = program_of(formula)
    result = apply_once(program, fuse_eager_attention, *inputs)
    (node,) = result.graph.find_nodes(op="call_function", target=torch.ops.l0compile.capped_attention.default)
    assert node.kwargs == {"scale": scale, "softcap": softcap}


@pytest.mark.parametrize("name", OTHERS)
def test_refusals(name: str) -> None:
    program, _ = program_of(OTHERS[name])
    assert fuse_eager_attention(program) is program
