"""fuse_rope: the rotation of transformers' decoders becomes one operator, and what only looks like it stays."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.analysis.liveness import analyse
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.fuse.fuse_rope import fuse_rope
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

aten, l0 = torch.ops.aten, torch.ops.l0compile
ROPE = l0.rope.default


def rotate_half(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


class Turn(nn.Module):
    """Query projection [B, S, 6] -> [B, H, S, D], turned by ``formula`` of it and of tables made from positions."""

    def __init__(self, formula: Callable[..., Tensor], heads: int = 2, width: int = 4) -> None:
        super().__init__()
        self.formula, self.heads, self.q = formula, heads, nn.Linear(6, heads * width)
        self.register_buffer("rate", torch.linspace(0.1, 1.0, width))

    def forward(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1])[None, :, None]
        cos, sin = ((positions * self.rate).cos()[:, None], (positions * self.rate).sin()[:, None])
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self.formula(q, cos, sin).transpose(1, 2).flatten(2)


def llama(q: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return q * cos + rotate_half(q) * sin


OTHERS: dict[str, Callable[..., Tensor]] = {
    "other sign": lambda q, cos, sin: q * cos + torch.cat((q[..., 2:], q[..., :2]), -1) * sin,
    "halves in place": lambda q, cos, sin: q * cos + torch.cat((-q[..., :2], q[..., 2:]), -1) * sin,
    "not halves": lambda q, cos, sin: q * cos + torch.cat((-q[..., 1:], q[..., :1]), -1) * sin,
    "two sources": lambda q, cos, sin: (q + 1) * cos + rotate_half(q) * sin,
    "a table per head": lambda q, cos, sin: q * cos.expand(-1, 2, -1, -1).cumsum(1) + rotate_half(q) * sin,
    "a difference": lambda q, cos, sin: q * cos - rotate_half(q) * sin,
}


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
def test_llama(dynamic: Any, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6)
    program = run(capture(Turn(llama).eval(), (x,), dynamic_shapes=dynamic), [canonicalize])
    result = run(apply_once(program, fuse_rope, x), [canonicalize])
    assert (
        count(result, ROPE) == 1 and count(result, aten.cat.default) == count(result, aten.transpose.int) == 0
    )
    packed = apply_once(result, partial(pack_tokens, lanes=4, rows=4), x)
    names = [str(node.target) for node in packed.graph.nodes if "l0compile" in str(node.target)]
    assert names.count("l0compile.packed_rope.default") == 1 and names.count("l0compile.unpack.default") == 1
    if dynamic:
        y = torch.randn(3, 5, 6)
        torch.testing.assert_close(packed.run(y), program.run(y))


@settings(max_examples=3)
@given(heads=st.integers(1, 3), half=st.integers(1, 3), swapped=st.booleans(), seed=st.integers(0, 99))
def test_any_size(
    heads: int,
    half: int,
    swapped: bool,
    seed: int,
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    def other(q: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return sin * rotate_half(q) + cos * q

    torch.manual_seed(seed)
    x = torch.randn(2, 3, 6)
    program = run(capture(Turn(other if swapped else llama, heads, 2 * half).eval(), (x,)), [canonicalize])
    assert count(apply_once(program, fuse_rope, x), ROPE) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_refusals(name: str) -> None:
    program = run(capture(Turn(OTHERS[name]).eval(), (torch.randn(2, 3, 6),)), [canonicalize])
    assert fuse_rope(program) is program


def test_a_feature_lives_with_its_partner() -> None:
    class Read(nn.Module):
        def forward(self, x: Tensor, cos: Tensor) -> Tensor:
            kept = torch.tensor([1.0, 0, 1, 0, 0, 0, 0, 1])
            turned = l0.rope(x * kept, cos, cos, 2)
            return turned[..., :4], turned[..., 7:] * 2  # type: ignore[return-value]

    program = capture(Read().eval(), (torch.randn(1, 3, 8), torch.randn(1, 3, 4)))
    liveness = analyse(program)
    node = program.graph.find_nodes(op="call_function", target=ROPE)[0]
    assert liveness.fact(node).last_axis()[0].tolist() == [False, True, False, True, True, False, True, False]
    assert liveness.live_channels(program.placeholders[0]).tolist() == [True, False, True] + [False] * 4 + [
        True
    ]


class Grouped(nn.Module):
    """Attention of four query heads on two key heads, both turned."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 16), nn.Linear(6, 8), nn.Linear(6, 8)
        self.out = nn.Linear(16, 6)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = l0.rope(self.q(x), cos, sin, 4), l0.rope(self.k(x), cos, sin, 2)
        return self.out(l0.attention(q, k, self.v(x), None, 4, 0.5, None, 0))


GROUPED = capture(Grouped().eval(), (torch.randn(2, 3, 6), torch.randn(1, 3, 4), torch.randn(1, 3, 4)))


@settings(max_examples=15)
@given(unread=st.sets(st.integers(0, 3)), seed=st.integers(0, 99))
def test_dead_heads_go_with_their_group(unread: set[int], seed: int, agree: Callable[..., None]) -> None:
    torch.manual_seed(seed)
    constants = {name: torch.randn(value.shape) for name, value in GROUPED.constants.items()}
    for head in unread:
        constants["out.weight"][:, 4 * head : 4 * head + 4] = 0.0
    program = GROUPED.with_graph(GROUPED.graph, constants)
    result = run(program, [compact])
    agree(program, result, torch.randn(2, 3, 6), torch.randn(1, 3, 4), torch.randn(1, 3, 4))
    groups = sum(not {2 * group, 2 * group + 1} <= unread for group in range(2)) or 2
    widths = sorted(
        value.shape[0] for name, value in result.constants.items() if name.startswith(("q.w", "k.w"))
    )
    if len(unread) < 4:
        assert widths == [4 * groups, 8 * groups]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_numbers_where_kernels_take_them(dtype: torch.dtype, count: Callable[..., int]) -> None:
    """Tables are made in float32 and rounded; the operator rounds where the model does."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6).to(dtype)
    model = Turn(lambda q, cos, sin: llama(q, cos.to(dtype), sin.to(dtype)))
    program = run(capture(model.to(dtype).eval(), (x,)), [canonicalize])
    assert count(fuse_rope(program), ROPE) == 0
    fused = fuse_rope(program, narrow=True)
    assert count(fused, ROPE) == 1 and torch.equal(fused.run(x), model(x))
