"""``l0compile::capped_attention``: PyTorch's attention with a soft limit of its scores, as Gemma 2 has it."""

import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.ir.ops.attention.multi_head import attention


@torch.library.custom_op("l0compile::capped_attention", mutates_args=())
def capped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    softcap: float = 0.0,
) -> Tensor:
    """``scaled_dot_product_attention`` with a ``softcap``, see ``l0compile::attention``.

    Args:
        query: [B, H, Sq, D]; key: [B, kv, Sk, D]; value: [B, kv, Sk, Dv]; kv is H, or divides it with ``enable_gqa``.
        key, value: see ``query``.
        attn_mask, is_causal, scale, enable_gqa: as PyTorch's.
        dropout_p: 0.
        softcap: of ``l0compile::attention``.

    Returns:
        [B, H, Sq, Dv].
    """
    if dropout_p or query.ndim != 4:
        raise InputError(
            f"l0compile::capped_attention: expected 4 axes and no dropout, got {query.ndim} and {dropout_p}"
        )
    q, k, v = (t.transpose(1, 2).flatten(-2) for t in (query, key, value))
    scale, after = query.shape[-1] ** -0.5 if scale is None else scale, 0 if is_causal else None
    result: Tensor = attention(q, k, v, attn_mask, query.shape[1], scale, None, after, "float32", softcap)
    return result.unflatten(-1, (query.shape[1], -1)).transpose(1, 2).contiguous()


@capped_attention.register_fake
def _(  # type: ignore[no-untyped-def]
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, softcap=0.0
):  # fmt: skip
    return query.new_empty(*query.shape[:-1], value.shape[-1])
