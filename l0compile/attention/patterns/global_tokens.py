"""Tokens that see all and are seen by all, and Longformer, which adds them to windows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern, Recipe
from l0compile.attention.patterns.per_head import PerHead
from l0compile.attention.patterns.window import Dilated


@dataclass(frozen=True)
class GlobalTokens(Pattern):
    """Some tokens see all keys, and all queries see them.

    Attributes:
        positions: Where they stand.
    """

    positions: tuple[int, ...] = (0,)

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        places = torch.tensor(self.positions)
        return torch.isin(q, places) | torch.isin(k, places)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (
            _numbered(grid.row_starts(), grid.q_block, self.positions),
            _numbered(grid.column_starts(), grid.k_block, self.positions),
        )


def _numbered(starts: Tensor, length: int, positions: tuple[int, ...]) -> Tensor:
    """The start of each block that holds one of ``positions``; -1 for the others, which look the same."""
    held = torch.zeros_like(starts, dtype=torch.bool)
    for position in positions:
        held |= (starts <= position) & (position < starts + length)
    return torch.where(held, starts, -1)


@dataclass(frozen=True)
class Longformer(Recipe):
    """A window with a dilation for each head, and global tokens (Beltagy et al. 2020, arXiv:2004.05150).

    Attributes:
        attention_window: Keys around a query, half of them on either side.
        attention_dilation: One for all heads, or one for each.
        global_tokens: Positions of the tokens that see all and are seen by all; the first for classification.
    """

    attention_window: int = 512
    attention_dilation: int | tuple[int, ...] = 1
    global_tokens: tuple[int, ...] = (0,)

    def made_of(self) -> Pattern:
        given = self.attention_dilation
        local: Pattern
        if isinstance(given, tuple):
            local = PerHead(tuple(Dilated(self.attention_window, dilation) for dilation in given))
        else:
            local = Dilated(self.attention_window, given)
        return local | GlobalTokens(self.global_tokens)
