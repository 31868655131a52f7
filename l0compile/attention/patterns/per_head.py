"""Another pattern for each head."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern
from l0compile.errors import ConfigError


@dataclass(frozen=True)
class PerHead(Pattern):
    """A pattern for each head, as an offline search gives them (MInference, Sparse-vDiT).

    Attributes:
        patterns: One for each query head, in their order.
    """

    patterns: tuple[Pattern, ...]

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = torch.zeros(head.shape[0], q.shape[1], k.shape[2], dtype=torch.bool)
        q, k = q.expand(head.shape[0], -1, -1), k.expand(head.shape[0], -1, -1)
        for number, pattern in enumerate(self.patterns):
            mine = head.flatten() == number
            if bool(mine.any()):
                seen[mine] = pattern.live(grid, head[mine], q[mine], k[mine]).expand(-1, *seen.shape[1:])
        return seen

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        """Number each head's pattern, and count all that its own facts distinguish in one number."""
        known: dict[tuple[Pattern, int], int] = {}
        shape = (self.tables(grid.heads), grid.rows, grid.columns)
        # Heads share the numbers of a pattern, unless it shows each head something else.
        keys = [(p, head if p.tables(grid.heads) > 1 else 0) for head, p in enumerate(self.patterns)]
        names = torch.tensor([known.setdefault(key, len(known)) for key in keys])
        numbers = torch.zeros(shape, dtype=torch.int64)
        for head, pattern in enumerate(self.patterns):
            for fact in pattern.facts(grid):
                values, place = torch.unique(fact, return_inverse=True)
                of_head = place[min(head, place.shape[0] - 1)] if place.ndim == 3 else place
                numbers[head] = numbers[head] * values.numel() + of_head
                numbers[head] = torch.unique(numbers[head], return_inverse=True)[1]
        return names.view(-1, 1, 1), numbers

    def tables(self, heads: int) -> int:
        if heads != len(self.patterns):
            raise ConfigError(
                f"PerHead: expected a pattern for each of {heads} heads, got {len(self.patterns)}"
            )
        return heads
