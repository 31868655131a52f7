"""Attention in the ways that models write it."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fuzz.operator_table import BOOLEAN, OPERATORS, Attributes, Draw, Operator
from tests.fuzz.shape import Shape


class Attention(nn.Module):
    """Queries from the first operand; keys and values from the second, or from the first where there is none.

    ``projection``: "apart", "packed" (one layer for all three) or "grouped" (half as many key/value heads).
    ``style``: "fused" (scaled_dot_product_attention) or "plain" (matmul, softmax, matmul). A third operand is a boolean
    mask [batch, keys].
    """

    def __init__(self, x: Shape, *others: Shape, heads: int, projection: str, style: str, causal: bool):
        super().__init__()
        width, head, self.heads = x.small[-1], 4, heads
        self.style, self.causal, self.masked = style, causal, len(others) == 2
        self.key_heads = heads // 2 if projection == "grouped" else heads
        self.packed = projection == "packed" and not others
        inner, keys = heads * head, self.key_heads * head
        source = others[0].small[-1] if others else width
        if self.packed:
            self.qkv = nn.Linear(width, 3 * inner)
        else:
            self.q, self.k, self.v = nn.Linear(width, inner), nn.Linear(source, keys), nn.Linear(source, keys)
        self.o = nn.Linear(inner, width)

    def forward(self, x: Tensor, source: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        source = x if source is None else source
        projected = self.qkv(x).chunk(3, -1) if self.packed else (self.q(x), self.k(source), self.v(source))
        q, k, v = (t.unflatten(-1, (-1, 4)).transpose(1, 2) for t in projected)
        if self.key_heads != self.heads:
            k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (k, v))
        keep = None if mask is None else mask[:, None, None, :]
        if self.style == "fused":
            h = F.scaled_dot_product_attention(q, k, v, attn_mask=keep, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-1, -2) * 0.5
            if keep is not None:
                scores = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
            if self.causal:
                future = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(1)
                scores = scores.masked_fill(future, float("-inf"))
            h = scores.softmax(-1) @ v
        return self.o(h.transpose(1, 2).flatten(2))


def tokens(x: Shape) -> bool:
    return x.floating and x.rank == 3 and x.fixed(-1)


def cross(x: Shape, y: Shape) -> bool:
    return tokens(x) and tokens(y) and (x.small[0], x.large[0]) == (y.small[0], y.large[0])


def masked(x: Shape, y: Shape, mask: Shape) -> bool:
    keys = (y.small[:2], y.large[:2]) == (mask.small, mask.large)
    return cross(x, y) and mask.dtype == torch.bool and mask.rank == 2 and keys


def _attributes(draw: Draw, *shapes: Shape) -> Attributes:
    return {
        "heads": draw(st.sampled_from([2, 4])),
        "projection": draw(st.sampled_from(["apart", "packed", "grouped"])),
        "style": draw(st.sampled_from(["fused", "plain"])),
        "causal": len(shapes) == 1 and draw(BOOLEAN),
    }


OPERATORS.update(
    attention=Operator(Attention, tokens, _attributes),
    cross_attention=Operator(Attention, cross, _attributes, 2),
    masked_attention=Operator(Attention, masked, _attributes, 3),
)
