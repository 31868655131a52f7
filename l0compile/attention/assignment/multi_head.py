"""What ``nn.MultiheadAttention`` computes, with its attention as a call of ``scaled_dot_product_attention``.

PyTorch shows a mode the function of the module as a whole, and nothing of what is inside.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.attention.assignment.call import Call

_SIGNATURE = signature(F.multi_head_attention_forward)


def multi_head(
    args: tuple[Any, ...], kwargs: dict[str, Any], answer: Callable[[Call], Tensor]
) -> tuple[Tensor, None] | None:
    """Return the result of ``F.multi_head_attention_forward`` with ``answer`` as its attention.

    Returns:
        (output, None); None where the weights of the attention are asked for, tokens have no batch, keys are added to
        those of the tokens, or dropout is on.
    """
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    added = (given[name] is not None for name in ("bias_k", "bias_v", "static_k", "static_v"))
    dropped = given["training"] and given["dropout_p"]
    if given["need_weights"] or given["query"].ndim != 3 or any(added) or given["add_zero_attn"] or dropped:
        return None
    heads = given["num_heads"]
    q, k, v = (
        t.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for t in _projected(given)
    )  # [tokens, batch, width] -> [batch, heads, tokens, width of a head]
    causal = given["is_causal"] and given["key_padding_mask"] is None
    mask = None if causal else _mask(given, q.shape[0], heads)
    result = answer(Call(q, k, v, mask, 0.0, causal)).permute(2, 0, 1, 3).flatten(-2)
    return F.linear(result, given["out_proj_weight"], given["out_proj_bias"]), None


def _projected(given: dict[str, Any]) -> list[Tensor]:
    tokens = [given[name] for name in ("query", "key", "value")]
    if given["use_separate_proj_weight"]:
        weights = [given[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = list(given["in_proj_weight"].chunk(3))
    biases = [None] * 3 if given["in_proj_bias"] is None else list(given["in_proj_bias"].chunk(3))
    return [F.linear(*each) for each in zip(tokens, weights, biases, strict=True)]


def _mask(given: dict[str, Any], batch: int, heads: int) -> Tensor | None:
    """What is added to the scores, or, of bool masks, which keys are live: PyTorch marks those that are not."""
    whole, keys = given["attn_mask"], given["key_padding_mask"]
    if whole is not None:
        whole = whole.unflatten(0, (batch, heads)) if whole.ndim == 3 else whole[None, None]
    masks = [mask for mask in (whole, None if keys is None else keys[:, None, None]) if mask is not None]
    if all(mask.dtype == torch.bool for mask in masks):
        live = [~mask for mask in masks]
        return None if not live else live[0] if len(live) == 1 else live[0] & live[1]
    dead = float("-inf")
    numbers = [
        torch.zeros_like(mask, dtype=given["query"].dtype).masked_fill(mask, dead)
        if mask.dtype == torch.bool
        else mask
        for mask in masks
    ]
    return numbers[0] if len(numbers) == 1 else numbers[0] + numbers[1]
