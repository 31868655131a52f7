"""``l0compile::attention``: multi-head attention on [batch, token, feature] tensors, heads side by side."""

from typing import Any

import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.ir.nodes import same_size
from l0compile.ir.ops.bfloat16 import rounded


@torch.library.custom_op("l0compile::attention", mutates_args=())
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    heads: int,
    scale: float,
    before: int | None,
    after: int | None,
    numbers: str = "float32",
    softcap: float = 0.0,
) -> Tensor:
    """softmax(scale * Q Kᵀ + mask over live keys) V, head by head.

    Unlike ``scaled_dot_product_attention`` it takes the projections as they are, so that there is no transpose between
    it and a linear layer, and whole heads can be cut out of both.

    Args:
        q: [B, Sq, heads*D], floating.
        k: [B, Sk, kv*D]; v: [B, Sk, kv*Dv]. kv, the number of key and value heads, follows from the widths of q and k
            (see :func:`key_heads`) and divides ``heads``: query head h reads key head h // (heads / kv).
        mask: broadcastable to [B, heads, Sq, Sk]. bool: True = this key is live for this query. Floating: added to the
            scores; a key is dead where that gives -inf. None: all live.
        heads: number of query heads.
        scale: factor on the scores, usually 1/sqrt(D).
        before: query i sees only keys j >= i - before, both counted from the first token; None: no limit.
        after: query i sees only keys j <= i + after; None: no limit. 0 is torch's ``is_causal``.
        numbers: what both products multiply. "bfloat16": q, k, v and exp(score - the largest score of the query) are
            rounded to it; sums and all else are float32. A kernel that meets a larger score later has rounded
            exponentials to a smaller one, so each weight may differ by 2^-7 of itself.
        softcap: a scaled product s becomes softcap * tanh(s / softcap), before the mask; 0: it stays.

    Returns:
        [B, Sq, heads*Dv], dtype of ``q``. A query with no live key gives 0, as in torch.

    Raises:
        InputError: features are not a multiple of the heads, or the mask is of another dtype or rank.
    """
    kv = _check(q, k, v, mask, heads)
    qh, kh, vh = (t.unflatten(-1, (n, -1)).transpose(1, 2) for t, n in ((q, heads), (k, kv), (v, kv)))
    kh, vh = (t.repeat_interleave(heads // kv, 1) for t in (kh, vh))
    if numbers == "bfloat16":
        qh, kh, vh = (rounded(t) for t in (qh, kh, vh))
    scores = _masked(capped((qh @ kh.transpose(-1, -2)) * scale, softcap), mask, before, after)
    return weighted_sum(scores, vh, numbers).transpose(1, 2).flatten(-2).contiguous()


def capped(scores: Tensor, softcap: float) -> Tensor:
    """softcap * tanh(scores / softcap), or the scores themselves if it is 0."""
    return softcap * torch.tanh(scores / softcap) if softcap else scores


def weighted_sum(scores: Tensor, values: Tensor, numbers: str) -> Tensor:
    """softmax(scores [..., Sq, Sk]) values [..., Sk, Dv]; a query whose scores are all -inf gives 0."""
    dead = (scores == float("-inf")).all(-1, keepdim=True)
    if numbers == "bfloat16":
        raised = torch.exp(scores - scores.amax(-1, keepdim=True)).masked_fill(dead, 0.0)
        return (rounded(raised) @ values) / raised.sum(-1, keepdim=True).masked_fill(dead, 1.0)
    return torch.softmax(scores, dim=-1).masked_fill(dead, 0.0) @ values


@attention.register_fake
def _(q, k, v, mask, heads, scale, before, after, numbers="float32", softcap=0.0):  # type: ignore[no-untyped-def]
    kv = _check(q, k, v, mask, heads)
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2] // kv * heads)


@torch.library.custom_op("l0compile::bfloat16_attention", mutates_args=())
def bfloat16_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` with both products in bfloat16, see ``numbers`` of ``l0compile::attention``.

    Args:
        query: [B, H, Sq, D] float32; key: [B, kv, Sk, D]; value: [B, kv, Sk, Dv]; kv is H, or divides it with
            ``enable_gqa``.
        key, value: see ``query``.
        attn_mask, is_causal, scale, enable_gqa: as PyTorch's.
        dropout_p: 0.

    Returns:
        [B, H, Sq, Dv] float32.
    """
    if dropout_p or query.ndim != 4:
        raise InputError(
            f"l0compile::bfloat16_attention: expected 4 axes and no dropout, got {query.ndim} and {dropout_p}"
        )
    q, k, v = (t.transpose(1, 2).flatten(-2) for t in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    after = 0 if is_causal else None
    result = attention(q, k, v, attn_mask, query.shape[1], scale, None, after, "bfloat16")
    return result.unflatten(-1, (query.shape[1], -1)).transpose(1, 2).contiguous()


@bfloat16_attention.register_fake
def _(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):  # type: ignore[no-untyped-def]
    return query.new_empty(*query.shape[:-1], value.shape[-1])


def key_heads(q_width: int, k_width: int, heads: int) -> int:
    """The number of key and value heads of an attention with ``heads`` query heads, from the widths of q and k.

    Raises:
        InputError: the widths are not whole heads of one size, or the query heads are not whole groups.
    """
    head = q_width // heads if heads > 0 else 0
    kv = k_width // head if head else 0
    if kv < 1 or kv * head != k_width or head * heads != q_width or heads % kv:
        raise InputError(
            f"l0compile::attention: expected q in {heads} equal heads and k in a divisor of that number of heads of "
            f"the same width, got features {q_width} and {k_width}"
        )
    return kv


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int) -> int:
    ranks = [t.ndim for t in (q, k, v)]
    if ranks != [3, 3, 3]:
        raise InputError(
            f"l0compile::attention: expected q, k, v of rank 3 [batch, tokens, features], got ranks {ranks}"
        )
    kv = key_heads(q.shape[2], k.shape[2], heads)
    if v.shape[2] % kv:
        raise InputError(
            f"l0compile::attention: expected features of v in {kv} equal heads, as k has, got {v.shape[2]}"
        )
    if mask is not None and (mask.dtype not in (torch.bool, q.dtype) or mask.ndim > 4):
        raise InputError(
            f"l0compile::attention: expected a mask of bool or {q.dtype} and of rank 4 or less, got {mask.dtype} of "
            f"rank {mask.ndim}"
        )
    return kv


def window_mask(queries: int, keys: int, before: int | None, after: int | None) -> Tensor | None:
    """bool [queries, keys]: which keys each query sees, see ``before`` and ``after`` above; None: all of them."""
    if before is None and after is None:
        return None
    seen = torch.ones(queries, keys, dtype=torch.bool)
    seen = seen if before is None else seen.triu(-before)
    return seen if after is None else seen.tril(after)


def sees_some(queries: Any, keys: Any, before: int | None, after: int | None) -> bool:
    """Whether every query provably sees a key, where no mask hides it; sizes may be symbolic."""
    if before is None:
        return after is None or after >= 0
    return before >= 0 and (after is None or after >= 0) and same_size(queries, keys)


def _masked(scores: Tensor, mask: Tensor | None, before: int | None, after: int | None) -> Tensor:
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    seen = window_mask(scores.shape[-2], scores.shape[-1], before, after)
    return scores if seen is None else scores.masked_fill(~seen.to(scores.device), float("-inf"))
