"""What PyTorch runs for operators of ours: its own fused attention, and the plain Python of the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.nn import functional as F

from l0compile.ir.ops.attention.block import program_of
from l0compile.ir.ops.attention.multi_head import key_heads, window_mask


def own_function(name: str) -> Callable[..., Any] | None:
    """The function behind operator ``name`` of namespace ``l0compile``, without the dispatcher, which takes longer than
    many of them; None when there is none of that name."""
    if name in _FUSED:
        return _FUSED[name]
    definition = OPDEFS.get(f"l0compile::{name}")
    return None if definition is None else definition._init_fn


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, scale: float, before: int | None,
    after: int | None, numbers: str = "float32", softcap: float = 0.0,
) -> Tensor:  # fmt: skip
    """``l0compile::attention`` by PyTorch's fused kernel; same arguments and result."""
    if numbers != "float32" or softcap:
        plain: Tensor = OPDEFS["l0compile::attention"]._init_fn(
            q, k, v, mask, heads, scale, before, after, numbers, softcap
        )
        return plain
    kv = key_heads(q.shape[2], k.shape[2], heads)
    qh, kh, vh = (t.unflatten(2, (n, -1)).transpose(1, 2) for t, n in ((q, heads), (k, kv), (v, kv)))
    if kv != heads:
        kh, vh = (t.repeat_interleave(heads // kv, 1) for t in (kh, vh))
    causal = mask is None and before is None and after == 0
    if not causal:
        mask = _with_window(mask, window_mask(q.shape[1], k.shape[1], before, after))
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    y = F.scaled_dot_product_attention(qh, kh, vh, mask, 0.0, causal, scale=scale)
    return y.transpose(1, 2).flatten(2)


def block_attention(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Tensor:
    """``l0compile::block_attention`` by PyTorch's fused kernel under a dense mask; same arguments and result."""
    lists, (mask, bias, heads, q_block, k_block, scale), rest = others[:8], others[8:14], others[14:]
    if bias is not None or any(rest[:2]) or rest[2:] not in ((), ("float32",)):
        plain: Tensor = OPDEFS["l0compile::block_attention"]._init_fn(q, k, v, *others)
        return plain
    seen = program_of(lists, q_block, k_block).to_mask(q.shape[1], k.shape[1])
    if mask is not None:
        dead = torch.tensor(float("-inf"))
        seen = seen & mask if mask.dtype == torch.bool else torch.where(seen, mask, dead)
    return attention(q, k, v, seen, heads, scale, None, None)


_FUSED: dict[str, Callable[..., Any]] = {"attention": attention, "block_attention": block_attention}


def _with_window(mask: Tensor | None, seen: Tensor | None) -> Tensor | None:
    if mask is None or seen is None:
        return seen if mask is None else mask
    return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, float("-inf"))
