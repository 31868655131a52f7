"""fuse_attention: one operator without transposes, or left alone with a reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_attention import fuse_attention, refusal
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run

aten, attention = torch.ops.aten, torch.ops.l0compile.attention.default


def test_transformer(
    prenorm_program: Program, make_tokens: Callable[..., tuple[Tensor, Tensor]],
    apply_once: Callable[..., Program], count: Callable[..., int],
) -> None:  # fmt: skip
    fused = run(apply_once(prenorm_program, fuse_attention, *make_tokens(3, 4)), [canonicalize])
    assert count(fused, attention) == 2 and count(fused, aten.transpose.int) == 0
    node = fused.graph.find_nodes(op="call_function", target=attention)[0]
    assert [str(arg.target) for arg in node.args[:3]] == ["aten.linear.default"] * 3  # type: ignore[index]
    assert node.args[4:] == (3, 0.5, None, None)


def test_golden(
    prenorm: Callable[..., nn.Module], captured: Callable[..., Program],
    make_tokens: Callable[..., tuple[Tensor, Tensor]], golden: Callable[[str, str], None],
) -> None:  # fmt: skip
    program = captured(prenorm(layers=1), *make_tokens())
    golden("fuse_attention.txt", str(run(program, [canonicalize, fuse_attention, canonicalize]).graph) + "\n")


def sdpa(*args: Any, **kwargs: Any) -> Tensor:
    return F.scaled_dot_product_attention(*args, **kwargs)


def repeat(x: Tensor, times: int) -> Tensor:
    """As transformers' ``repeat_kv``."""
    b, kv, s, d = x.shape
    return x[:, :, None].expand(b, kv, times, s, d).reshape(b, kv * times, s, d)


def order(q: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of queries and of keys, as transformers' masks count them."""
    positions = torch.arange(q.shape[2])
    return positions[None, None, :, None], positions[None, None, None, :]


Window = tuple[int | None, int | None]
ALL: Window = (None, None)
PAST: Window = (None, 0)
# Of queries, keys and values [3, 2, 3, 4]; (keys seen before and after a query, key heads) afterwards.
FORMS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], tuple[Window, int]]] = {
    "causal": (lambda q, k, v: sdpa(q, k, v, is_causal=True), (PAST, 2)),
    "scale": (lambda q, k, v: sdpa(q, k, v, scale=0.2), (ALL, 2)),
    "bool": (lambda q, k, v: sdpa(q, k, v, attn_mask=(q[..., :1] > 0).expand(3, 2, 3, 3)), (ALL, 2)),
    "float": (lambda q, k, v: sdpa(q, k, v, attn_mask=torch.ones(3, 3).cumsum(0) * q[0, 0, 0, 0]), (ALL, 2)),
    "other width": (lambda q, k, v: sdpa(q, k, v[..., :3]), (ALL, 2)),
    "grouped": (lambda q, k, v: sdpa(q, k[:, :1], v[:, :1], enable_gqa=True), (ALL, 1)),
    "one key head": (
        lambda q, k, v: sdpa(q, k[:, :1].expand(-1, 2, -1, -1), v[:, :1].expand(-1, 2, -1, -1)), (ALL, 1),
    ),
    "repeated": (lambda q, k, v: sdpa(q.repeat(1, 3, 1, 1), repeat(k, 3), repeat(v, 3)), (ALL, 2)),
    "only keys repeated": (lambda q, k, v: sdpa(q, repeat(k[:, :1], 2), v), (ALL, 2)),
    "no later key": (lambda q, k, v: sdpa(q, k, v, attn_mask=order(q)[1] <= order(q)[0]), (PAST, 2)),
    "no earlier query": (lambda q, k, v: sdpa(q, k, v, attn_mask=order(q)[0] >= order(q)[1]), (PAST, 2)),
    "no later key and some": (
        lambda q, k, v: sdpa(
            q, k, v, attn_mask=((order(q)[1] <= order(q)[0]) & (k[..., 0, 0] > -9)[:, :, None, None]).expand(3, 2, 3, 3)
        ),
        (PAST, 2),
    ),
    "no earlier key": (lambda q, k, v: sdpa(q, k, v, attn_mask=order(q)[1] >= order(q)[0]), ((0, None), 2)),
    "before": (lambda q, k, v: sdpa(q, k, v, attn_mask=order(q)[1] < order(q)[0]), ((None, -1), 2)),
    "shifted": (lambda q, k, v: sdpa(q, k, v, attn_mask=order(q)[1] <= order(q)[0] + 1), ((None, 1), 2)),
}  # fmt: skip


class Attend(nn.Module):
    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.formula(q, k, v)


@pytest.mark.parametrize(
    ("name", "fixed"),
    [*((name, True) for name in FORMS), *((name, False) for name in ("repeated", "no later key", "shifted"))],
)
def test_forms(name: str, fixed: bool, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    formula, (window, key_heads) = FORMS[name]
    torch.manual_seed(0)
    inputs = torch.randn(3, 3, 2, 3, 4).unbind()
    names = None if fixed else {key: {2: "length"} for key in "qkv"}
    steps = [canonicalize, fold_constants]
    program = run(capture(Attend(formula).eval(), inputs, dynamic_shapes=names), steps)
    result = apply_once(program, fuse_attention, *inputs)
    assert count(result, attention) == 1
    node = result.graph.find_nodes(op="call_function", target=attention)[0]
    assert node.args[6:8] == window and node.args[5] == (0.2 if name == "scale" else 0.5)
    assert node.args[1].meta["val"].shape[-1] == key_heads * 4  # type: ignore[union-attr]


REFUSED: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], str]] = {
    "rank": (lambda q, k, v: sdpa(q[0], k[0], v[0]), "not of rank 4"),
    "float64": (
        lambda q, k, v: sdpa(q.double(), k.double(), v.double()),
        "not in float32 but in torch.float64",
    ),
    "batch": (lambda q, k, v: sdpa(q[:1], k, v), "batch sizes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_why(name: str, captured: Callable[..., Program], count: Callable[..., int]) -> None:
    formula, reason = REFUSED[name]
    program = captured(Attend(formula), *torch.randn(3, 3, 2, 3, 4).unbind())
    result = fuse_attention(program)
    assert result is program and count(program, attention) == 0
    node = program.graph.find_nodes(op="call_function", target=aten.scaled_dot_product_attention.default)[0]
    assert reason in str(refusal(node))
    assert reason in record_regions(program).regions[0].reason
