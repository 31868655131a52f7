"""The two factorised patterns of Sparse Transformers (Child et al. 2019, arXiv:1904.10509)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern
from l0compile.attention.patterns.window import distance_facts


@dataclass(frozen=True)
class Strided(Pattern):
    """The last ``stride`` keys, and every ``stride``-th one before them.

    Attributes:
        stride: l of the paper.
    """

    stride: int = 128

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        distance = q - k
        return (distance >= 0) & ((distance < self.stride) | (distance % self.stride == 0))

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        """Far back only the rest of a division by the stride matters."""
        distance, far = grid.distances(), self.stride + grid.k_block
        repeated = far + (distance - far) % self.stride
        return (torch.where(distance < far, distance.clamp(min=-grid.q_block), repeated),)


@dataclass(frozen=True)
class FixedStride(Pattern):
    """The keys of the query's own part of ``stride`` tokens, and the last ``c`` of each part before it.

    Attributes:
        stride: l of the paper, the length of a part.
        c: How many keys at the end of a part all later queries see.
    """

    stride: int = 128
    c: int = 8

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        own = q // self.stride == k // self.stride
        return (k <= q) & (own | (k % self.stride >= self.stride - self.c))

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        place = grid.column_starts() % self.stride
        return distance_facts(grid, 0, self.stride - 1), place, grid.row_starts() % self.stride
