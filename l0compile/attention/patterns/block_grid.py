"""Queries and keys in blocks: where the blocks of an attention begin, and how many there are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.errors import ConfigError


@dataclass(frozen=True)
class BlockGrid:
    """The blocks of one attention.

    Attributes:
        queries, keys: How many there are. The last query stands at the last key, as in a decoder with a cache.
        heads: Number of query heads.
        q_block, k_block: Queries and keys of a block.
    """

    queries: int
    keys: int
    heads: int = 1
    q_block: int = 64
    k_block: int = 64

    def __post_init__(self) -> None:
        if min(self.queries, self.keys, self.heads, self.q_block, self.k_block) < 1:
            raise ConfigError(f"attention pattern: expected sizes of 1 or more, got {self}")

    @property
    def first(self) -> int:
        """The position of the first query among the keys."""
        return self.keys - self.queries

    @property
    def rows(self) -> int:
        return -(-self.queries // self.q_block)

    @property
    def columns(self) -> int:
        return -(-self.keys // self.k_block)

    def row_starts(self) -> Tensor:
        """[R, 1]: the position of the first query of each row."""
        return self.first + torch.arange(self.rows).unsqueeze(1) * self.q_block

    def column_starts(self) -> Tensor:
        """[1, N]: the first key of each block."""
        return torch.arange(self.columns).unsqueeze(0) * self.k_block

    def distances(self) -> Tensor:
        """[R, N]: position of the first query of a block minus that of its first key."""
        return self.row_starts() - self.column_starts()

    def query_places(self, rows: Tensor) -> Tensor:
        """[n, q_block, 1]: positions of the queries of some rows; past the last query, the last one again."""
        inside = rows.view(-1, 1, 1) * self.q_block + torch.arange(self.q_block).view(1, -1, 1)
        return self.first + inside.clamp(max=self.queries - 1)

    def key_places(self, columns: Tensor) -> Tensor:
        """[n, 1, k_block]: positions of the keys of some blocks; the last ones may lie past the last key."""
        return columns.view(-1, 1, 1) * self.k_block + torch.arange(self.k_block).view(1, 1, -1)
