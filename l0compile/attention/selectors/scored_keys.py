"""Selectors that give every key a score and keep the best of each row."""

from abc import abstractmethod

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.selectors.column_choice import best_keys
from l0compile.attention.selectors.scored_blocks import pooled
from l0compile.attention.selectors.selector import Selector
from l0compile.ir.ops.attention.row_program import RowProgram


class ScoredKeys(Selector):
    """Keeps the keys with the highest scores of each row.

    Args:
        topk: Keys of a row.
        q_block: Queries of a row. 1 is what the papers do; a row of several shares one choice, and if it is causal
            also sees the blocks of its own positions.
        causal: Nothing after the query.
        k_block: Keys of a block.
    """

    def __init__(self, topk: int, q_block: int = 1, causal: bool = True, k_block: int = 64) -> None:
        super().__init__()
        self.topk, self.q_block, self.causal, self.k_block = topk, q_block, causal, k_block

    @abstractmethod
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return [B, h, R, Sk], the score of each key for the mean query of each row.

        Args:
            q: [B, h, R, D], the mean query of each row.
            k: [B, h, Sk, D].
        """

    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        grid = BlockGrid(q.shape[2], k.shape[2], q.shape[1], self.q_block, self.k_block)
        means = q if self.q_block == 1 else pooled(q, self.q_block)
        return best_keys(grid, self.scores(means, k), self.topk, self.causal)


class RowTopK(ScoredKeys):
    """The keys with the highest scores of each query: MESAN's sparse attention.

    Its own products are all of a dense attention's with one query in a row, and a part of them with more.

    Args:
        topk: Keys of a row.
        q_block: Queries of a row.
        causal: Nothing after the query.
        k_block: Keys of a block.
    """

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(-1, -2)


class ChipmunkColumns(ScoredKeys):
    """Columns of a few keys for chunks of queries, and some at random (Silveria et al. 2025, Chipmunk).

    Chipmunk takes the column sums of the last dense step of a diffusion; here the mean query of a chunk scores keys.

    Args:
        topk: Keys of a chunk, 5 % of all in the paper.
        random: More keys at random, 1 % of all in the paper; the same for all chunks.
        chunk: Queries of a row.
        seed: Of the random keys.
    """

    def __init__(self, topk: int, random: int = 0, chunk: int = 192, seed: int = 0) -> None:
        super().__init__(topk + random, chunk, causal=False)
        self.random, self.seed = random, seed

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2)
        if not self.random:
            return scores
        # Scattered over all keys, and made here: a model is exported with the length that it has.
        places = (torch.arange(self.random, device=k.device) * 2 + 1) * k.shape[2] // (2 * self.random)
        keys = torch.arange(k.shape[2], device=k.device)
        more = (keys.unsqueeze(1) == (places + self.seed) % k.shape[2]).any(1)
        return scores.masked_fill(more, float("inf"))
