"""Modalities that see each other through a few tokens."""

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern


@dataclass(frozen=True)
class AttentionBottlenecks(Pattern):
    """Modalities see themselves and the bottleneck tokens (MBT, Nagrani et al. 2021, arXiv:2107.00135).

    The bottleneck tokens see all. Tokens stand modality by modality, the bottleneck tokens behind them. In MBT each
    modality updates its own copy of the bottleneck, and copies are averaged; here one softmax over all tokens does it.

    Attributes:
        modalities: Tokens of each modality.
        num_bottlenecks: Bottleneck tokens, 4 in the paper.
    """

    modalities: tuple[int, ...]
    num_bottlenecks: int = 4

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        of_q, of_k, last = self._modality(q), self._modality(k), len(self.modalities)
        return (of_q == of_k) | (of_q == last) | (of_k == last)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return self._numbered(grid.row_starts(), grid.q_block), self._numbered(
            grid.column_starts(), grid.k_block
        )

    def _modality(self, token: Tensor) -> Tensor:
        ends = torch.tensor(list(accumulate(self.modalities)))
        return torch.bucketize(token, ends, right=True)

    def _numbered(self, starts: Tensor, length: int) -> Tensor:
        """The modality of a block as a negative number, or its start where it holds several."""
        first, last = self._modality(starts), self._modality(starts + length - 1)
        return torch.where(first == last, -1 - first, starts)
