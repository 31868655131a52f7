"""Selectors that give every block a score and keep the best of each row."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.selectors.block_choice import best_blocks
from l0compile.attention.selectors.selector import Selector
from l0compile.ir.ops.attention.row_program import RowProgram


class ScoredBlocks(Selector):
    """Keeps the blocks with the highest scores of each row.

    Args:
        block_size: Queries and keys of a block.
        topk: Blocks of keys that a block of queries sees, its own among them if causal.
        causal: Nothing after the query.
    """

    def __init__(self, block_size: int, topk: int, causal: bool) -> None:
        super().__init__()
        self.block_size, self.topk, self.causal = block_size, topk, causal

    @abstractmethod
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return [B, h, R, N], a score for each block; q and k are [B, h, S, D]."""

    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        return best_blocks(self.grid(q, k), self.scores(q, k), self.topk, self.causal)

    def grid(self, q: Tensor, k: Tensor) -> BlockGrid:
        """Return the blocks of q and k."""
        return BlockGrid(q.shape[2], k.shape[2], q.shape[1], self.block_size, self.block_size)


def by_block(t: Tensor, block: int) -> Tensor:
    """[B, h, R, block, ...]: tokens by their block, zeros behind the last one."""
    missing = -t.shape[2] % block
    if not isinstance(missing, int) or missing:
        t = pad(t, (0, 0) * (t.ndim - 3) + (0, missing))
    return t.unflatten(2, (-1, block))


def pooled(t: Tensor, block: int) -> Tensor:
    """[B, h, R, D]: the mean of each block's tokens."""
    tokens = t.shape[2]
    lengths = (tokens - torch.arange(0, tokens, block, device=t.device)).clamp(max=block)
    # Tokens outside, as projections lie in memory: compiled, nothing is copied.
    sums = by_block(t.transpose(1, 2).unsqueeze(1), block).sum(3).squeeze(1)
    return sums.transpose(1, 2) / lengths.unsqueeze(1)


class PooledScores(ScoredBlocks):
    """Products of the means of blocks: MInference's block-sparse heads (Jiang et al. 2024, arXiv:2407.02490).

    Args:
        block_size: Queries and keys of a block.
        topk: Blocks of keys that a block of queries sees, its own among them if causal.
        causal: Nothing after the query.
    """

    def __init__(self, block_size: int = 64, topk: int = 100, causal: bool = True) -> None:
        super().__init__(block_size, topk, causal)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return pooled(q, self.block_size) @ pooled(k, self.block_size).transpose(-1, -2)
