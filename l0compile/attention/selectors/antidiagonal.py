"""Sums along antidiagonals as scores of blocks: XAttention."""

import torch
from torch import Tensor

from l0compile.attention.selectors.block_choice import best_blocks
from l0compile.attention.selectors.scored_blocks import ScoredBlocks, by_block
from l0compile.errors import ConfigError
from l0compile.ir.ops.attention.row_program import RowProgram


class AntidiagonalScores(ScoredBlocks):
    """Blocks that hold most of the attention, by one score in ``stride`` (Xu et al. 2025, arXiv:2503.16428).

    Each square of ``stride`` queries and keys counts with the sum of the scores on its antidiagonal, which meets all
    diagonals and columns.

    Args:
        block_size: Queries and keys of a block.
        stride: Edge of a square; it divides the block size.
        threshold: Share of a row's estimated attention at which its list ends.
        max_blocks: A list ends here in any case.
        causal: Nothing after the query.
    """

    def __init__(
        self,
        block_size: int = 128,
        stride: int = 8,
        threshold: float = 0.9,
        max_blocks: int = 64,
        causal: bool = True,
    ) -> None:
        super().__init__(block_size, max_blocks, causal)
        if block_size % stride:
            raise ConfigError(
                f"AntidiagonalScores: expected a stride that divides {block_size}, got {stride}"
            )
        self.stride, self.threshold = stride, threshold

    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        return best_blocks(self.grid(q, k), self.scores(q, k), self.topk, self.causal, self.threshold)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Return each block's share of the estimated attention, summed over the squares of a row."""
        squares = by_block(q, self.stride).flip(3).flatten(3), by_block(k, self.stride).flatten(3)
        products = squares[0] @ squares[1].transpose(-1, -2) * (q.shape[3] ** -0.5 / self.stride)
        if self.causal:
            rows, columns = (torch.arange(t.shape[2], device=q.device) for t in squares)
            # The last query of a square decides what its square of queries may look at.
            first = k.shape[2] - q.shape[2]
            later = columns * self.stride > (rows.unsqueeze(1) + 1) * self.stride - 1 + first
            products = products.masked_fill(later, float("-inf"))
        shares = products.softmax(-1)
        edge = self.block_size // self.stride
        rows_of_blocks = by_block(shares, edge).sum(3)
        return by_block(rows_of_blocks.transpose(-1, -2), edge).sum(3).transpose(-1, -2)
