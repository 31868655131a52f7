"""Phi-3-small's blocks: the last ones, and every eighth, shifted from head to head."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_rules import BlockRule
from l0compile.attention.patterns.pattern import Pattern, Recipe
from l0compile.attention.patterns.window import Causal


@dataclass(frozen=True)
class LocalStrideBlocks(BlockRule):
    """The last ``local_blocks`` blocks, and every ``vert_stride``-th, which differ from head to head.

    Attributes:
        block_size, local_blocks, vert_stride, homo_head: See :class:`Phi3Small`.
    """

    block_size: int
    local_blocks: int
    vert_stride: int
    homo_head: bool

    def table(self, heads: int, q_blocks: int, k_blocks: int) -> Tensor:
        q, k = torch.arange(q_blocks).unsqueeze(1), torch.arange(k_blocks)
        step = max(1, self.vert_stride // heads)
        shift = torch.arange(self.tables(heads)).view(-1, 1, 1) * step + 1
        return (k <= q) & ((q - k < self.local_blocks) | ((k + shift) % self.vert_stride == 0))

    def tables(self, heads: int) -> int:
        return 1 if self.homo_head else heads


@dataclass(frozen=True)
class Phi3Small(Recipe):
    """Causal blocks of Phi-3-small (Abdin et al. 2024, arXiv:2404.14219).

    Attributes:
        block_size: Tokens of a block.
        local_blocks: The last blocks that a query sees, its own among them.
        vert_stride: Of the blocks before them a query sees every so many-th.
        homo_head: All heads see the same.
    """

    block_size: int = 64
    local_blocks: int = 16
    vert_stride: int = 8
    homo_head: bool = False

    def made_of(self) -> Pattern:
        return Causal() & LocalStrideBlocks(
            self.block_size, self.local_blocks, self.vert_stride, self.homo_head
        )
