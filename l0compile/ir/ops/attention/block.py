"""``l0compile::block_attention``: attention to the keys that a row program lists."""

from inspect import signature
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import InputError
from l0compile.ir.ops.attention.multi_head import capped, key_heads, weighted_sum
from l0compile.ir.ops.attention.row_program import Operands, RowLists, RowProgram
from l0compile.ir.ops.bfloat16 import rounded


def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
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
    heads: int,
    q_block: int,
    k_block: int,
    scale: float,
    softcap: float = 0.0,
    log_sum_exp: bool = False,
    numbers: str = "float32",
) -> Tensor:
    """softmax(scale * Q Kᵀ over the listed keys) V, head by head; keys that are not listed are never read.

    Args:
        q: [B, Sq, heads*D], floating.
        k: [B, Sk, kv*D]; v: [B, Sk, kv*Dv], as of ``l0compile::attention``.
        full_counts, full_blocks, partial_counts, partial_blocks, pattern_numbers, patterns, column_counts, columns: the
            operands of a :class:`~l0compile.ir.ops.attention.row_program.RowProgram` of R = ceil(Sq / q_block) rows.
        mask: of single keys, broadcastable to [B, heads, 1, Sk], bool (True = live) or floating (added to the score).
        bias: [1 or heads, Sq + Sk - 1], what is added to the score of query i and key j, at i - j + Sk - 1.
        heads: number of query heads.
        q_block: queries of a row.
        k_block: keys of a block.
        scale: factor on the products.
        softcap: a scaled product s becomes softcap * tanh(s / softcap), before mask and bias; 0: it stays.
        log_sum_exp: also give the logarithm of the sum of the exponentials of the scores.
        numbers: see ``l0compile::attention``.

    Returns:
        [B, Sq, heads*Dv], dtype of ``q``; with ``log_sum_exp`` [B, Sq, heads*Dv + heads], the logarithms last. A query
        with no live key gives 0, and -inf as its logarithm.

    Raises:
        InputError: features are not a multiple of the heads, a list names a key twice or one past the end, or an
            operand has another shape.
    """
    kv = _check(q, k, v, heads)
    program = program_of(
        (full_counts, full_blocks, partial_counts, partial_blocks, pattern_numbers, patterns, column_counts, columns),
        q_block, k_block,
    )  # fmt: skip
    scores, values = _scores(q, k, v, program, mask, bias, heads, kv, scale, softcap, numbers)
    result = weighted_sum(scores, values, numbers).transpose(1, 2).flatten(-2)
    if not log_sum_exp:
        return result.contiguous()
    return torch.cat([result, torch.logsumexp(scores, -1).transpose(1, 2)], -1)


# What follows q, k and v; PyTorch leaves out what has its default.
_NAMES = list(signature(_reference).parameters)[3:]
block_attention = torch.library.custom_op("l0compile::block_attention", _reference, mutates_args=())


@block_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> Tensor:
    given = dict(zip(_NAMES, others, strict=False))
    heads = given["heads"]
    width = v.shape[2] // _check(q, k, v, heads) * heads
    return q.new_empty(q.shape[0], q.shape[1], width + (heads if given.get("log_sum_exp") else 0))


def program_of(operands: Operands, q_block: int, k_block: int) -> RowProgram:
    """The row program whose operands these are, see :meth:`RowProgram.operands`.

    Raises:
        InputError: a list has counts without entries, or entries without counts.
    """
    full, partial, columns = (
        _lists(operands[i], operands[i + 1], name) for i, name in ((0, "full"), (2, "partial"), (6, "column"))
    )
    return RowProgram(q_block, k_block, full, partial, operands[4], operands[5], columns)


def _lists(counts: Tensor | None, entries: Tensor | None, name: str) -> RowLists | None:
    if counts is None and entries is None:
        return None
    if counts is None or entries is None or counts.shape != entries.shape[:-1] or counts.ndim != 3:
        shapes = [None if t is None else tuple(t.shape) for t in (counts, entries)]
        raise InputError(
            f"l0compile::block_attention: expected {name} counts [b, h, R] and entries [b, h, R, C], got {shapes}"
        )
    return RowLists(counts, entries)


def _check(q: Tensor, k: Tensor, v: Tensor, heads: int) -> int:
    ranks = [t.ndim for t in (q, k, v)]
    if ranks != [3, 3, 3]:
        raise InputError(
            f"l0compile::block_attention: expected q, k, v [batch, tokens, features], got ranks {ranks}"
        )
    kv = key_heads(q.shape[2], k.shape[2], heads)
    if v.shape[2] % kv:
        raise InputError(
            f"l0compile::block_attention: expected {kv} equal heads of v, got {v.shape[2]} features"
        )
    return kv


def _scores(
    q: Tensor, k: Tensor, v: Tensor, program: RowProgram, mask: Tensor | None, bias: Tensor | None,
    heads: int, kv: int, scale: float, softcap: float, numbers: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(scores [B, heads, Sq, Sk], -inf where no list has the key; values [B, heads, Sk, Dv])."""
    qh, kh, vh = (t.unflatten(-1, (n, -1)).transpose(1, 2) for t, n in ((q, heads), (k, kv), (v, kv)))
    kh, vh = (t.repeat_interleave(heads // kv, 1) for t in (kh, vh))
    if numbers == "bfloat16":
        qh, kh, vh = (rounded(t) for t in (qh, kh, vh))
    scores = capped((qh @ kh.transpose(-1, -2)) * scale, softcap)
    queries, keys = scores.shape[-2:]
    if bias is not None:
        scores = scores + bias[:, _distances(queries, keys) + keys - 1]
    if mask is not None:
        dead = scores.new_full((), float("-inf"))
        scores = torch.where(mask, scores, dead) if mask.dtype == torch.bool else scores + mask
    return scores.masked_fill(~program.to_mask(queries, keys), float("-inf")), vh


def _distances(queries: int, keys: int) -> Tensor:
    """[queries, keys]: position of the query minus that of the key."""
    return torch.arange(queries).unsqueeze(1) - torch.arange(keys)


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.inputs = inputs


def _backward(ctx, gradient):  # type: ignore[no-untyped-def]
    """Gradients of q, k, v and bias, through the dense reference."""
    differentiable = (0, 1, 2, 12)
    inputs = list(ctx.inputs)
    with torch.enable_grad():
        for i in differentiable:
            if inputs[i] is not None:
                inputs[i] = inputs[i].detach().requires_grad_()
        result = _reference(*inputs)
        wanted = [i for i in differentiable if inputs[i] is not None]
        found = torch.autograd.grad(result, [inputs[i] for i in wanted], gradient, allow_unused=True)
    by_place = dict(zip(wanted, found, strict=True))
    return tuple(by_place.get(i) for i in range(len(inputs)))


block_attention.register_autograd(_backward, setup_context=_keep)
