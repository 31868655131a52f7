"""What a static pattern of attention is, and how it becomes a row program."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.grid_program import grid_program
from l0compile.errors import ConfigError
from l0compile.ir.ops.attention.row_program import RowProgram

# Parameters that nothing is left of at 0.
_SIZES = frozenset({
    "attention_window", "block_size", "dilation", "frame_size", "height", "kernel_size", "num_frame", "period",
    "stride", "vert_stride", "width", "window", "window_size",
})  # fmt: skip


class Pattern(ABC):
    """Which keys each query sees, by a rule about positions and heads.

    A subclass is a frozen dataclass whose fields have the names of the paper or code that it comes from.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.type not in (int, "int"):
                continue
            least = 1 if field.name in _SIZES else 0
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(
                    f"{type(self).__name__}: {field.name}: expected a whole number of {least} or more, got {value!r}"
                )

    @abstractmethod
    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """Return which queries see which keys.

        Args:
            grid: The sizes of the attention.
            head: [n, 1, 1], the head of each of n blocks.
            q: [n, q_block, 1], positions of queries.
            k: [n, 1, k_block], positions of keys.

        Returns:
            Broadcastable to [n, q_block, k_block], bool.
        """

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        """Return numbers that decide what a block looks like, each broadcastable to [tables, R, N].

        Blocks for which all of them are equal are looked at once. Without a better idea every block is its own.
        """
        shape = (self.tables(grid.heads), grid.rows, grid.columns)
        return (torch.arange(shape[0] * shape[1] * shape[2]).view(shape),)

    def tables(self, heads: int) -> int:
        """Return how many heads have a table of their own: 1 where they all see the same."""
        return 1

    def program(
        self, queries: int, keys: int | None = None, heads: int = 1, *, q_block: int = 64, k_block: int = 64
    ) -> RowProgram:
        """Return the pattern as lists of blocks and keys.

        Args:
            queries: Number of queries; the last one stands at the last key.
            keys: Number of keys; as many as queries if it is not given.
            heads: Number of query heads.
            q_block: Queries that share a list.
            k_block: Keys of a block.
        """
        grid = BlockGrid(queries, queries if keys is None else keys, heads, q_block, k_block)
        return grid_program(grid, self.tables(heads), self.facts(grid), self.live)

    def mask(self, queries: int, keys: int | None = None, heads: int = 1) -> Tensor:
        """Return the pattern as a dense mask [1, tables, queries, keys], True where a query sees a key."""
        grid = BlockGrid(queries, queries if keys is None else keys, heads)
        q = torch.arange(grid.first, grid.keys).view(1, -1, 1)
        k = torch.arange(grid.keys).view(1, 1, -1)
        tables = [
            self.live(grid, torch.full((1, 1, 1), head), q, k).expand(1, queries, grid.keys)
            for head in range(self.tables(heads))
        ]
        return torch.stack(tables, 1)

    def __or__(self, other: "Pattern") -> "Pattern":
        return Either((self, other))

    def __and__(self, other: "Pattern") -> "Pattern":
        return Both((self, other))


@dataclass(frozen=True)
class Either(Pattern):
    """What any of several patterns shows; written ``a | b``."""

    parts: tuple[Pattern, ...]

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = self.parts[0].live(grid, head, q, k)
        for part in self.parts[1:]:
            seen = seen | part.live(grid, head, q, k)
        return seen

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return tuple(fact for part in self.parts for fact in part.facts(grid))

    def tables(self, heads: int) -> int:
        return max(part.tables(heads) for part in self.parts)


@dataclass(frozen=True)
class Both(Pattern):
    """What each of several patterns shows; written ``a & b``."""

    parts: tuple[Pattern, ...]

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        seen = self.parts[0].live(grid, head, q, k)
        for part in self.parts[1:]:
            seen = seen & part.live(grid, head, q, k)
        return seen

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return tuple(fact for part in self.parts for fact in part.facts(grid))

    def tables(self, heads: int) -> int:
        return max(part.tables(heads) for part in self.parts)


class Recipe(Pattern):
    """A method whose pattern is made of others."""

    @abstractmethod
    def made_of(self) -> Pattern:
        """Return the pattern that this one is a name for."""

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self.made_of().live(grid, head, q, k)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return self.made_of().facts(grid)

    def tables(self, heads: int) -> int:
        return self.made_of().tables(heads)
