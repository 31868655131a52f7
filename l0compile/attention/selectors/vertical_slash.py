"""Columns and diagonals, estimated from the last queries: MInference's vertical-slash heads."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.attention.lists import packed
from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.products import score_products
from l0compile.attention.selectors.causal_edges import causal_edges
from l0compile.attention.selectors.selector import Selector
from l0compile.errors import InputError
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

FIRST_KEYS, NEAREST = 30, 100
"""Keys and distances that are always chosen first."""


class VerticalSlash(Selector):
    """Single keys, and blocks along diagonals (Jiang et al. 2024, arXiv:2407.02490). Causal.

    The attention of the last queries is computed; the columns and the diagonals with the largest sums are kept, for
    all queries. A diagonal takes the blocks that it crosses, so more is seen than was chosen. A key that is in a block
    of a row is not a column of it.

    Args:
        vertical_size: Columns, v.
        slash_size: Diagonals, s.
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
        grid = BlockGrid(q.shape[2], k.shape[2], q.shape[1], self.block_size, self.block_size)
        if grid.first % self.block_size:
            raise InputError(
                f"VerticalSlash: expected queries that begin at a multiple of {self.block_size} keys, got "
                f"{grid.first}"
            )
        columns, distances = self.estimate(q, k)
        crossed = self._crossed(distances, grid)
        full = _diagonals(crossed, grid)
        edges = causal_edges(grid, q.device)
        verticals = _outside(columns, crossed, grid)
        return RowProgram(
            grid.q_block, grid.k_block, full, edges.lists, edges.numbers, edges.patterns, verticals
        )

    def estimate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return (columns [B, h, V] in order, distances between query and key [B, h, S]) with the largest sums."""
        keys, last = k.shape[2], min(self.last_q, q.shape[2])
        scores = score_products(q[:, :, -last:], k) * q.shape[-1] ** -0.5
        later = torch.ones(last, keys, dtype=torch.bool, device=q.device).triu(keys - last + 1)
        shares = scores.masked_fill(later, float("-inf")).softmax(-1)
        vertical, slash = shares.sum(-2), _by_distance(shares)
        index = torch.arange(keys, device=q.device)
        vertical = vertical.masked_fill(index < FIRST_KEYS, float("inf"))
        slash = slash.masked_fill(index < NEAREST, float("inf"))
        sizes = max(self.vertical_size, FIRST_KEYS), max(self.slash_size, 50)
        columns, distances = (
            t.topk(min(n, keys)).indices for t, n in zip((vertical, slash), sizes, strict=True)
        )
        return columns.sort(-1).values, distances

    def _crossed(self, distances: Tensor, grid: BlockGrid) -> Tensor:
        """[B, h, N] bool: which blocks before its own a row sees, by how many blocks they lie before it."""
        size = self.block_size
        marks = torch.zeros(*distances.shape[:2], grid.columns + 1, dtype=torch.bool, device=distances.device)
        near, far = distances // size, (distances + size - 1) // size
        marks = marks.scatter(-1, near, True).scatter(-1, far, True)
        return marks[..., : grid.columns]


def _by_distance(shares: Tensor) -> Tensor:
    """[..., keys]: sums along the diagonals of [..., last, keys], by the distance of the key before the query."""
    last, keys = shares.shape[-2:]
    # Each line is one place longer than a line of the result, so that it begins one place further on there.
    skewed = pad(shares.flip(-1), (0, last)).flatten(-2)[..., :-last]
    return skewed.unflatten(-1, (last, keys + last - 1)).sum(-2)[..., last - 1 :]


def _diagonals(crossed: Tensor, grid: BlockGrid) -> RowLists:
    """Full blocks: each row lists those at the distances that are crossed, as far as there are blocks."""
    width = grid.columns
    before = torch.arange(width, dtype=torch.int32, device=crossed.device)
    past = (before > 0) & crossed
    steps = packed(before.expand(crossed.shape).unsqueeze(2), past.unsqueeze(2), width).entries
    own = grid.first // grid.k_block + torch.arange(grid.rows, dtype=torch.int32, device=crossed.device)
    counts = past.cumsum(-1, dtype=torch.int32)[..., own.long()]
    return RowLists(counts, own.unsqueeze(1) - steps)


def _outside(columns: Tensor, crossed: Tensor, grid: BlockGrid) -> RowLists:
    """Single keys of each row: those before its own block and in no block that it lists."""
    own = grid.first // grid.k_block + torch.arange(grid.rows, device=columns.device)
    back = own.unsqueeze(1) - (columns // grid.k_block).unsqueeze(2)
    shape = back.shape
    listed = crossed.unsqueeze(2).expand(-1, -1, grid.rows, -1).gather(-1, back.clamp(min=0))
    numbers = columns.to(torch.int32).unsqueeze(2).expand(shape)
    return packed(numbers, (back > 0) & ~listed, shape[-1])
