"""The best blocks of each row, as a row program."""

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.selectors.causal_edges import causal_edges
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

_LAST = torch.iinfo(torch.int32).max


def best_blocks(
    grid: BlockGrid, scores: Tensor, topk: int, causal: bool, threshold: float | None = None
) -> RowProgram:
    """The program of the ``topk`` blocks with the highest scores of each row.

    Args:
        grid: The blocks.
        scores: [B, h, R, N].
        topk: Blocks of a row. With ``causal`` the blocks of the row's own queries are always among them.
        causal: No key after a query is seen; blocks after a row are not chosen.
        threshold: Fewer blocks are enough where they have this share of a row's scores; these must not be negative, and
            0 for keys that no query of the row may see.
    """
    shape = scores.shape[:-1]
    if not causal:
        best = scores.topk(min(topk, grid.columns), -1)
        counts = torch.full_like(best.indices[..., 0], best.indices.shape[-1])
        if threshold is not None:
            counts = _enough(best.values, scores.sum(-1) * threshold).clamp(min=1)
        return RowProgram(grid.q_block, grid.k_block, _lists(counts, best.indices))
    edges = causal_edges(grid, scores.device)
    allowed = torch.arange(grid.columns, device=scores.device) < edges.past.unsqueeze(1)
    best = scores.masked_fill(~allowed, float("-inf")).topk(min(topk, grid.columns), -1)
    counts = torch.minimum(edges.past, (topk - edges.lists.counts[0, 0]).clamp(min=0)).expand(shape)
    counts = counts.clamp(max=best.indices.shape[-1])
    if threshold is not None:
        own = (scores * ~allowed).sum(-1)
        wanted = _enough(best.values.clamp(min=0), scores.sum(-1) * threshold - own)
        counts = torch.minimum(counts, wanted)
    full = _lists(counts, best.indices)
    return RowProgram(grid.q_block, grid.k_block, full, edges.lists, edges.numbers, edges.patterns)


def _enough(values: Tensor, wanted: Tensor) -> Tensor:
    """How many of the falling ``values`` [..., C] are needed for a sum of ``wanted`` [...]."""
    before = values.cumsum(-1) - values
    return (before < wanted.unsqueeze(-1)).sum(-1)


def _lists(counts: Tensor, entries: Tensor) -> RowLists:
    """The first ``counts`` of the entries, in order: blocks that lie side by side are read one after another."""
    behind = torch.arange(entries.shape[-1], device=entries.device) >= counts.unsqueeze(-1)
    ordered = entries.to(torch.int32).masked_fill(behind, _LAST).sort(-1).values
    return RowLists(counts.to(torch.int32).contiguous(), ordered)
