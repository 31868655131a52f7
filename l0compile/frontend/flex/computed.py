"""The parts of flex_attention that depend on inputs, as functions of tensors that are traced into the graph."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.frontend.flex.mod import PLACE, Mod, on_grid, over

ListOperands = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""The first six operands of ``l0compile::block_attention``."""


def dense_mask(masks: Sequence[tuple[Mod, Sequence[Any]]], sizes: Sequence[Any]) -> Tensor:
    """The conjunction of masks: [b, h, q, K] bool; b, h and q are 1 where none of them depends on it.

    Args:
        masks: functions of the place, and the values of their buffers.
        sizes: batches, heads, queries and keys; symbolic ones too.
    """
    names = frozenset[str]().union({"key"}, *(mod.reads() for mod, _ in masks))
    place = [torch.arange(size if name in names else 1) for size, name in zip(sizes, PLACE, strict=True)]
    found = [on_grid(mod, place, buffers).to(torch.bool) for mod, buffers in masks]
    result = found[0]
    for other in found[1:]:
        result = result & other
    return result


def listed_patterns(
    masks: Sequence[tuple[Mod, Sequence[Any]]],
    entries: Tensor,
    known: Tensor,
    sizes: Sequence[Any],
    blocks: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """The patterns of listed blocks, and their numbers [b, h, R, C].

    Args:
        masks: functions of the place, and the values of their buffers.
        entries: [b, h, R, C], the listed key blocks.
        known: [b, h, R, C, q_block, k_block], which positions are live by other conditions.
        sizes: batches, heads, queries and keys.
        blocks: queries and keys of a block.
    """
    names = frozenset[str]().union(*(mod.reads() for mod, _ in masks))
    outer = "".join(
        letter
        for letter, name, count in (("b", "batch", entries.shape[0]), ("h", "head", entries.shape[1]))
        if name in names or count > 1
    )
    queries = torch.arange(entries.shape[2]).unsqueeze(1) * blocks[0] + torch.arange(blocks[0])
    keys = entries.long().unsqueeze(-1) * blocks[1] + torch.arange(blocks[1])
    # Past the last query and the last key nothing is live.
    live = known & (queries < sizes[2])[:, None, :, None] & (keys < sizes[3]).unsqueeze(4)
    own = ""
    for letter, axis in (("h", 1), ("b", 0)):
        if entries.shape[axis] > 1:
            own = letter + own
        else:
            keys = keys.squeeze(axis)
    place = (
        torch.arange(sizes[0]),
        torch.arange(sizes[1]),
        queries.clamp(max=sizes[2] - 1),
        keys.clamp(max=sizes[3] - 1),
    )
    varying = ("b" if "b" in outer else "", "h" if "h" in outer else "", "ri", own + "rcj")
    given = [numbers if letters else numbers[0] for numbers, letters in zip(place, varying, strict=True)]
    for mod, buffers in masks:
        found = over(mod, outer + "rcij", varying, given, buffers).to(torch.bool)
        for letter, axis in (("b", 0), ("h", 1)):
            found = found if letter in outer else found.unsqueeze(axis)
        live = live & found
    numbers = torch.arange(live.shape[0] * live.shape[1] * live.shape[2] * live.shape[3], dtype=torch.int32)
    return live.flatten(0, 3), numbers.reshape(live.shape[:4])


def blocks_of(mask: Tensor, q_block: int, k_block: int) -> ListOperands:
    """The row program of a mask [b, h, Q, K]: each block has a pattern of its own, and dead ones have no entry."""
    b, h, queries, keys = mask.shape
    rows, columns = (queries + q_block - 1) // q_block, (keys + k_block - 1) // k_block
    padded = pad(mask, (0, columns * k_block - keys, 0, rows * q_block - queries))
    blocks = padded.reshape(b, h, rows, q_block, columns, k_block).transpose(3, 4)
    live = blocks.flatten(4).sum(-1)
    inside = _lengths(queries, rows, q_block).unsqueeze(-1) * _lengths(keys, columns, k_block)
    full, partial = live == inside, (live > 0) & (live < inside)
    first = torch.arange(b * h * rows).reshape(b, h, rows, 1) * columns
    listed = _listed(partial)
    numbers = (first + listed[1]).to(torch.int32)
    return (*_listed(full), *listed, numbers, blocks.reshape(b * h * rows * columns, q_block, k_block))


def every_block(queries: Any, keys: Any, q_block: int, k_block: int) -> tuple[Tensor, Tensor]:
    """The lists of full blocks where every query sees every key."""
    rows, columns = (queries + q_block - 1) // q_block, (keys + k_block - 1) // k_block
    counts = torch.ones(1, 1, rows, dtype=torch.int32) * columns
    entries = torch.arange(columns, dtype=torch.int32).expand(1, 1, rows, columns)
    return counts.to(torch.int32), entries.contiguous()


def bias_of(terms: Sequence[tuple[float, Mod, Sequence[Any]]], heads: int, queries: Any, keys: Any) -> Tensor:
    """[heads, Q + K - 1]: what the terms add to a score of each head at each distance, from 1 - K on.

    Args:
        terms: factor, function of head and distance, values of its buffers.
        heads: number of query heads.
        queries, keys: their numbers, which may be symbolic.
    """
    one, distances = torch.zeros(1, dtype=torch.int64), torch.arange(queries + keys - 1) - (keys - 1)
    place = (one, torch.arange(heads), distances, one)
    total = None
    for factor, mod, buffers in terms:
        term = on_grid(mod, place, buffers)[0, :, :, 0].to(torch.float32) * factor
        total = term if total is None else total + term
    assert total is not None
    return total


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    score: Callable[[Tensor], Tensor],
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """What eager flex_attention computes: output [B, heads, Q, Dv], and log2 of the sum of exponentials [B, heads, Q].

    Args:
        query: [B, heads, Q, D].
        key, value: with as many heads or fewer, and one batch or as many.
        scale: factor on the products.
        score: the score_mod for all scores at once.
        mask: which scores count; None: all.
    """
    working = torch.float64 if query.dtype == torch.float64 else torch.float32
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    scores = score((query.to(working) @ key.to(working).transpose(-2, -1)) * scale).to(working)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    dead = (scores == float("-inf")).all(-1, keepdim=True)
    # A row without live keys gives 0. The softmax of nothing but -inf would be NaN.
    weights = torch.softmax(scores, -1).masked_fill(dead, 0.0)
    sums = torch.logsumexp(scores, -1) / math.log(2)
    return weights.to(query.dtype) @ value, sums


def _lengths(size: Any, count: Any, block: int) -> Tensor:
    """How much of ``size`` lies in each of ``count`` blocks."""
    return (size - torch.arange(count) * block).clamp(max=block)


def _listed(marked: Tensor) -> tuple[Tensor, Tensor]:
    """Counts, and numbers of the True places of each row, in order."""
    order = torch.argsort((~marked).to(torch.int8), dim=-1, stable=True)
    return marked.sum(-1).to(torch.int32), order.to(torch.int32)
