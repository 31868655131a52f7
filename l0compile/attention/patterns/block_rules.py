"""Rules about blocks of tokens, each for all tokens of a block."""

from abc import abstractmethod

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern


class BlockRule(Pattern):
    """Which blocks of keys the queries of a block see. A subclass has a field ``block_size``."""

    block_size: int

    @abstractmethod
    def table(self, heads: int, q_blocks: int, k_blocks: int) -> Tensor:
        """Return [tables, q_blocks, k_blocks] bool: which blocks of keys each block of queries sees.

        Args:
            heads: Number of query heads.
            q_blocks: How many blocks the positions of queries span, from position 0.
            k_blocks: The same for keys.
        """

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        size = self.block_size
        table = self._table(grid)
        return table[head.clamp(max=table.shape[0] - 1), q // size, k // size]

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        size = self.block_size
        rows, columns = grid.row_starts(), grid.column_starts()
        if size % grid.q_block or size % grid.k_block or grid.first % grid.q_block:
            return super().facts(grid)
        return (self._table(grid)[:, rows // size, columns // size].to(torch.int8),)

    def _table(self, grid: BlockGrid) -> Tensor:
        blocks = -(-grid.keys // self.block_size)
        return self.table(grid.heads, blocks, blocks)
