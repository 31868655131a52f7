"""``l0compile::packed_block_attention``: attention to listed keys, on packed tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.attention.block import block_attention
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.ir.ops.bfloat16 import FEATURES as PAIR
from l0compile.ir.ops.packed import pack, unpack
from l0compile.ir.ops.words import from_words

EDGE = 16
"""Entries around patterns and biases: a register of queries may begin or end that far outside of a row."""


def packed_patterns(patterns: Tensor) -> Tensor:
    """Patterns [P, q_block, k_block] bool as the packed operator takes them: queries last, 1 where a key is seen.

    Returns:
        [P, k_block + 2 * EDGE, q_block + 2 * EDGE] int8, zeros around.
    """
    return F.pad(patterns.transpose(1, 2).to(torch.int8), (EDGE,) * 4)


def packed_distances(bias: Tensor) -> Tensor:
    """A bias by distance [H, Sq + Sk - 1] as the packed operator takes it: with zeros around."""
    return F.pad(bias, (EDGE, EDGE))


@torch.library.custom_op("l0compile::packed_block_attention", mutates_args=())
def packed_block_attention(
    q: Tensor,
    k: Tensor | None,
    v: Tensor | None,
    key_rows: Tensor | None,
    value_rows: Tensor | None,
    full_counts: Tensor | None,
    full_blocks: Tensor | None,
    partial_counts: Tensor | None,
    partial_blocks: Tensor | None,
    pattern_numbers: Tensor | None,
    patterns: Tensor | None,
    column_counts: Tensor | None,
    columns: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    batch: int,
    queries: int,
    keys: int,
    heads: int,
    q_block: int,
    k_block: int,
    scale: float,
    softcap: float = 0.0,
    log_sum_exp: bool = False,
    numbers: str = "float32",
    kept: float = 1.0,
) -> Tensor:
    """``l0compile::block_attention`` on packed tokens: q [T, heads*D, L] of batch*queries tokens.

    Keys and values of blocks are packed, k and v of batch*keys tokens; those of columns are rows, [batch, keys, kv*D].
    Both are there where both kinds are listed. In bfloat16 k and v are in words as for ``packed_attention``, and no
    columns are listed. Patterns are a result of :func:`packed_patterns`, the bias one of :func:`packed_distances`.

    ``kept`` is the share of the keys that a row lists, as far as a graph tells; only predictions of time read it.

    Returns:
        [T, heads*Dv, L], and with ``log_sum_exp`` heads more features, the logarithms.
    """
    rows = unpack(q, [batch, queries])
    key_rows, value_rows = _rows(k, v, key_rows, value_rows, batch, keys, numbers)
    shown = None if patterns is None else patterns[:, EDGE:-EDGE, EDGE:-EDGE].transpose(1, 2).bool()
    lists = (full_counts, full_blocks, partial_counts, partial_blocks, pattern_numbers, shown)
    distances = None if bias is None else bias[:, EDGE:-EDGE]
    y = block_attention(
        rows, key_rows, value_rows, *lists, column_counts, columns, mask, distances, heads, q_block, k_block,
        scale, softcap, log_sum_exp, numbers,
    )  # fmt: skip
    return pack(y, q.shape[2])


def _rows(
    k: Tensor | None, v: Tensor | None, key_rows: Tensor | None, value_rows: Tensor | None,
    batch: int, keys: int, numbers: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    if key_rows is not None and value_rows is not None:
        return key_rows, value_rows
    if k is None or v is None:
        raise InputError("l0compile::packed_block_attention: expected keys and values, packed or as rows")
    if numbers == "bfloat16":
        k = from_words(k.transpose(1, 2), torch.bfloat16).float().transpose(1, 2)
        v = from_words(v, torch.bfloat16).float()
    return unpack(k, [batch, keys]), unpack(v, [batch, keys])


@packed_block_attention.register_fake
def _(  # type: ignore[no-untyped-def]
    q, k, v, key_rows, value_rows, full_counts, full_blocks, partial_counts, partial_blocks, pattern_numbers, patterns,
    column_counts, columns, mask, bias, batch, queries, keys, heads, q_block, k_block, scale, softcap=0.0,
    log_sum_exp=False, numbers="float32", kept=1.0,
):  # fmt: skip
    width = _value_width(q, k, v, key_rows, value_rows, heads, numbers)
    return q.new_empty(q.shape[0], width + (heads if log_sum_exp else 0), q.shape[2])


def _value_width(q: Any, k: Any, v: Any, key_rows: Any, value_rows: Any, heads: int, numbers: str) -> Any:
    """Features of the result without logarithms."""
    if k is None:
        return value_rows.shape[2] // key_heads(q.shape[1], key_rows.shape[2], heads) * heads
    words = PAIR if numbers == "bfloat16" else 1
    return v.shape[1] // key_heads(q.shape[1], k.shape[1] * words, heads) * heads
