"""Windows, global blocks and random blocks: BigBird, and the edges of SViTT."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_rules import BlockRule


def random_blocks(free: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """[R, N] bool: ``number`` of the free blocks of each row, or all where fewer are free."""
    draw = torch.rand(free.shape, generator=generator).masked_fill(~free, 2.0)
    order = draw.argsort(1).argsort(1)
    return (order < number) & free


@dataclass(frozen=True)
class BigBird(BlockRule):
    """Blocks around the query's own, the first and the last, and some at random (Zaheer et al. 2020, arXiv:2007.14062).

    The first and the last block also see all keys.

    Attributes:
        block_size: Tokens of a block.
        num_random_blocks: Random blocks of each block of queries, others for each head.
        seed: Of the random blocks.
    """

    block_size: int = 64
    num_random_blocks: int = 3
    seed: int = 0

    def table(self, heads: int, q_blocks: int, k_blocks: int) -> Tensor:
        q, k = torch.arange(q_blocks).unsqueeze(1), torch.arange(k_blocks)
        given = ((q - k).abs() <= 1) | (k == 0) | (k == k_blocks - 1) | (q == 0) | (q == q_blocks - 1)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.stack(
            [given | random_blocks(~given, self.num_random_blocks, generator) for _ in range(heads)]
        )

    def tables(self, heads: int) -> int:
        return heads if self.num_random_blocks else 1


@dataclass(frozen=True)
class SvittEdges(BlockRule):
    """The edges between tokens of a video that SViTT keeps (Li et al. 2023, arXiv:2304.08809).

    The blocks of a frame are next to each other. A query sees the ``k_local`` nearest blocks, ``k_random`` at random,
    and the first block, which holds the class token and sees all.

    Attributes:
        k_local: Local blocks, the query's own among them.
        k_random: Random blocks, others for each head.
        block_size: Tokens of a block.
        seed: Of the random blocks.
    """

    k_local: int = 1
    k_random: int = 3
    block_size: int = 56
    seed: int = 0

    def table(self, heads: int, q_blocks: int, k_blocks: int) -> Tensor:
        q, k = torch.arange(q_blocks).unsqueeze(1), torch.arange(k_blocks)
        given = ((q - k).abs() <= self.k_local // 2) | (k == 0) | (q == 0)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.stack([given | random_blocks(~given, self.k_random, generator) for _ in range(heads)])

    def tables(self, heads: int) -> int:
        return heads if self.k_random else 1
