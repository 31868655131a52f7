"""The best single keys of each row, as a row program."""

import torch
from torch import Tensor

from l0compile.attention.best_places import best_places
from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.selectors.causal_edges import causal_edges
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram


def best_keys(grid: BlockGrid, scores: Tensor, topk: int, causal: bool) -> RowProgram:
    """The program of the ``topk`` keys with the highest scores of each row.

    Args:
        grid: The blocks. With one query in a row only the keys chosen are seen; rows of several also see, causally,
            the blocks that their own positions are in.
        scores: [B, h, R, keys].
        topk: Keys of a row, without those of its own blocks.
        causal: No key after a query is seen; keys after a row's first query are not chosen.
    """
    if not causal:
        best = best_places(scores, min(topk, grid.keys), ordered=False)
        counts = torch.full_like(best[..., 0], best.shape[-1])
        return RowProgram(grid.q_block, grid.k_block, columns=_lists(counts, best))
    edges = causal_edges(grid, scores.device)
    allowed = edges.past * grid.k_block
    if grid.q_block == 1:
        allowed = grid.first + torch.arange(grid.rows, device=scores.device) + 1
    keys = torch.arange(grid.keys, device=scores.device)
    masked = scores.masked_fill(keys >= allowed.unsqueeze(1), float("-inf"))
    # By their places: those that are allowed come before all others.
    best = best_places(masked, min(topk, grid.keys), ordered=False)
    counts = allowed.clamp(max=best.shape[-1]).expand(best.shape[:-1])
    columns = _lists(counts, best)
    if grid.q_block == 1:
        return RowProgram(grid.q_block, grid.k_block, columns=columns)
    return RowProgram(grid.q_block, grid.k_block, None, edges.lists, edges.numbers, edges.patterns, columns)


def _lists(counts: Tensor, entries: Tensor) -> RowLists:
    return RowLists(counts.to(torch.int32).contiguous(), entries.to(torch.int32))
