"""Columns and diagonals, estimated from the last queries: MInference's vertical-slash heads."""

from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.selectors.causal_edges import causal_edges
from l0compile.attention.selectors.selector import Selector
from l0compile.ir.ops.attention import vertical_slash
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram


class VerticalSlash(Selector):
    """Single keys, and blocks along diagonals (Jiang et al. 2024, arXiv:2407.02490). Causal.

    The attention of the last queries is computed; the columns and the diagonals with the largest sums are kept, for
    all queries. A diagonal takes the blocks that it crosses, so more is seen than was chosen. A key that is in a block
    of a row is not a column of it. The first 30 columns and the 100 nearest diagonals come before all others.

    Args:
        vertical_size: Columns, v, 30 or more.
        slash_size: Diagonals, s, 50 or more.
        last_q: Queries that estimate.
        block_size: Queries and keys of a block.
    """

    def __init__(
        self, vertical_size: int = 1000, slash_size: int = 6096, last_q: int = 64, block_size: int = 64
    ) -> None:
        super().__init__()
        self.vertical_size, self.slash_size = vertical_size, slash_size
        self.last_q, self.block_size = last_q, block_size

    def choose(self, q: Tensor, k: Tensor) -> RowProgram:
        size = self.block_size
        counts, blocks, column_counts, columns = vertical_slash.vertical_slash(
            q, k, self.vertical_size, self.slash_size, self.last_q, size
        )
        edges = causal_edges(BlockGrid(q.shape[2], k.shape[2], q.shape[1], size, size), q.device)
        return RowProgram(
            size, size, RowLists(counts, blocks), edges.lists, edges.numbers, edges.patterns,
            RowLists(column_counts, columns),
        )  # fmt: skip

    def estimate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return (columns [B, h, V] in order, distances between query and key [B, h, S]) with the largest sums."""
        return vertical_slash.chosen(q, k, self.vertical_size, self.slash_size, self.last_q)
