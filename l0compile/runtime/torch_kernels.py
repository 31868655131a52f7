"""What PyTorch runs for operators of ours: its own fused attention, and the plain Python of the others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.nn import functional as F

from l0compile.ir.ops.attention.multi_head import key_heads


def own_function(name: str) -> Callable[..., Any] | None:
    """The function behind operator ``name`` of namespace ``l0compile``, without the dispatcher, which takes longer than
    many of them; None when there is none of that name."""
    if name == "attention":
        return attention
    definition = OPDEFS.get(f"l0compile::{name}")
    return None if definition is None else definition._init_fn


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, scale: float, causal: bool
) -> Tensor:
    """``l0compile::attention`` by PyTorch's fused kernel; same arguments and result."""
    kv = key_heads(q.shape[2], k.shape[2], heads)
    qh, kh, vh = (t.unflatten(2, (n, -1)).transpose(1, 2) for t, n in ((q, heads), (k, kv), (v, kv)))
    if kv != heads:
        kh, vh = (t.repeat_interleave(heads // kv, 1) for t in (kh, vh))
    if mask is not None:
        mask = _with_past(mask, q.shape[1], k.shape[1]) if causal else mask
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    y = F.scaled_dot_product_attention(qh, kh, vh, mask, 0.0, causal and mask is None, scale=scale)
    return y.transpose(1, 2).flatten(2)


def _with_past(mask: Tensor, queries: int, keys: int) -> Tensor:
    past = torch.ones(queries, keys, dtype=torch.bool).tril()
    return mask & past if mask.dtype == torch.bool else mask.masked_fill(~past, float("-inf"))
