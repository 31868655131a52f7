"""The best blocks of each row, as a row program."""

import torch
from torch import Tensor

from l0compile.attention.best_places import best_places
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
        best = best_places(scores, min(topk, grid.columns), ordered=threshold is not None)
        counts = torch.full_like(best[..., 0], best.shape[-1])
        if threshold is not None:
            counts = _enough(scores.gather(-1, best), scores.sum(-1) * threshold).clamp(min=1)
        return RowProgram(grid.q_block, grid.k_block, _lists(counts, best))
    edges = causal_edges(grid, scores.device)
    allowed = torch.arange(grid.columns, device=scores.device) < edges.past.unsqueeze(1)
    masked = scores.masked_fill(~allowed, float("-inf"))
    best = best_places(masked, min(topk, grid.columns))
    counts = torch.minimum(edges.past, (topk - edges.lists.counts[0, 0]).clamp(min=0)).expand(shape)
    counts = counts.clamp(max=best.shape[-1])
    if threshold is not None:
        own = (scores * ~allowed).sum(-1)
        wanted = _enough(masked.gather(-1, best).clamp(min=0), scores.sum(-1) * threshold - own)
        counts = torch.minimum(counts, wanted)
    full = _lists(counts, best)
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
