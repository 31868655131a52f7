"""What a causal selection may choose from, and what it shows in any case: the blocks of the queries themselves."""

from dataclasses import dataclass
from math import gcd

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.ir.ops.attention.row_program import RowLists


@dataclass(frozen=True)
class CausalEdges:
    """The blocks that hold keys before and after some query of a row, all by formulas that can be exported.

    Attributes:
        past: [R] int64, how many of the first blocks all queries of a row see whole.
        lists: [1, 1, R, W], the blocks after those with keys that some query sees.
        numbers: [1, 1, R, W] int32, the pattern of each.
        patterns: [P, q_block, k_block] bool.
    """

    past: Tensor
    lists: RowLists
    numbers: Tensor
    patterns: Tensor


def causal_edges(grid: BlockGrid, device: torch.device) -> CausalEdges:
    """The edges of a causal attention whose last query stands at the last key."""
    rows, columns = grid.q_block, grid.k_block
    step = gcd(rows, columns)
    start = grid.first + torch.arange(grid.rows, device=device) * rows
    past = (start + 1) // columns
    width = 1 if rows == 1 else (rows - 2) // columns + 2
    blocks = past.unsqueeze(1) + torch.arange(width, device=device)
    counts = ((start + rows - 1).clamp(max=grid.keys - 1) // columns - past + 1).clamp(max=width)
    # A pattern is told by the distance of its first query and key, which is -rows or more here.
    rest = grid.first % step
    numbers = (start.unsqueeze(1) - blocks * columns - rest + rows) // step
    distances = torch.arange((rows + columns) // step + 1, device=device) * step + rest - rows
    inside = torch.arange(rows, device=device).unsqueeze(1) - torch.arange(columns, device=device)
    patterns = distances.view(-1, 1, 1) + inside >= 0
    lists = RowLists(_first(counts), _first(blocks))
    return CausalEdges(past, lists, _first(numbers.clamp(min=0)), patterns)


def _first(numbers: Tensor) -> Tensor:
    return numbers.to(torch.int32).unsqueeze(0).unsqueeze(0)
