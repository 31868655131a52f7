"""``l0compile::attention``: multi-head attention on [batch, token, feature] tensors, heads side by side."""

import torch
from torch import Tensor

from l0compile.errors import InputError


@torch.library.custom_op("l0compile::attention", mutates_args=())
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, scale: float, causal: bool
) -> Tensor:
    """softmax(scale * Q Kᵀ over live keys) V, head by head.

    Unlike ``scaled_dot_product_attention`` it takes the projections as they are, so that no transpose stands between
    a linear layer and it, and whole heads can be cut out of both. The code below is the reference of the op.

    Args:
        q: [B, Sq, heads*D], floating.
        k: [B, Sk, heads*D]; v: [B, Sk, heads*Dv].
        mask: bool, True = this key is live for this query; broadcastable to [B, heads, Sq, Sk]. None: all live.
        heads: number of heads.
        scale: factor on the scores, usually 1/sqrt(D).
        causal: query i also sees only keys j <= i (as torch's ``is_causal``, aligned at the first token).

    Returns:
        [B, Sq, heads*Dv], dtype of ``q``. A query with no live key gives 0.

    Raises:
        InputError: features are not a multiple of ``heads``, or the mask is not bool.
    """
    _check(q, k, v, mask, heads)
    qh, kh, vh = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = (qh @ kh.transpose(-1, -2)) * scale
    live = _live(scores, mask, causal)
    weights = torch.softmax(scores.masked_fill(~live, float("-inf")), dim=-1)
    weights = weights.masked_fill(~live.any(-1, keepdim=True), 0.0)
    return (weights @ vh).transpose(1, 2).flatten(-2).contiguous()


@attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int, scale: float, causal: bool) -> Tensor:
    _check(q, k, v, mask, heads)
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2])


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, heads: int) -> None:
    ranks = [t.ndim for t in (q, k, v)]
    if ranks != [3, 3, 3]:
        raise InputError(
            f"l0compile::attention: expected q, k, v of rank 3 [batch, tokens, features], got ranks {ranks}"
        )
    widths = [t.shape[2] for t in (q, k, v)]
    if heads < 1 or any(width % heads for width in widths) or widths[0] != widths[1]:
        raise InputError(
            f"l0compile::attention: expected features of q, k, v in {heads} equal heads, q as wide as k, got {widths}"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.ndim > 4):
        raise InputError(
            f"l0compile::attention: expected a bool mask of rank 4 or less, got {mask.dtype} of rank {mask.ndim}"
        )


def _live(scores: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    live = torch.ones((), dtype=torch.bool, device=scores.device) if mask is None else mask
    if causal:
        live = live & torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    return live.expand(scores.shape)
