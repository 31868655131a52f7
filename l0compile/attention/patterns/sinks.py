"""The first keys and the last ones: StreamingLLM, A-shape and tri-shape."""

from dataclasses import dataclass

from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern, Recipe
from l0compile.attention.patterns.window import Causal, SlidingWindow


@dataclass(frozen=True)
class FirstKeys(Pattern):
    """Every query sees the first keys.

    Attributes:
        count: How many.
    """

    count: int

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k < self.count

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (grid.column_starts().clamp(max=self.count),)


@dataclass(frozen=True)
class LastQueries(Pattern):
    """The last queries see every key.

    Attributes:
        count: How many.
    """

    count: int

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return q >= grid.keys - self.count

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        edge = grid.keys - self.count
        return (grid.row_starts().clamp(edge - grid.q_block, edge),)


@dataclass(frozen=True)
class StreamingLLM(Recipe):
    """Attention sinks and the most recent keys (Xiao et al. 2023, arXiv:2309.17453).

    Attributes:
        start_size: The first keys, which every later query sees.
        recent_size: The last keys, the query's own among them.
    """

    start_size: int = 4
    recent_size: int = 2000

    def made_of(self) -> Pattern:
        return Causal() & (FirstKeys(self.start_size) | SlidingWindow(self.recent_size))


@dataclass(frozen=True)
class AShape(Recipe):
    """The same with the sizes of MInference, for prefilling (Jiang et al. 2024, arXiv:2407.02490).

    Attributes:
        n_init: The first keys.
        n_local: The last keys, the query's own among them.
    """

    n_init: int = 128
    n_local: int = 3968

    def made_of(self) -> Pattern:
        return StreamingLLM(self.n_init, self.n_local).made_of()


@dataclass(frozen=True)
class TriShape(Recipe):
    """An A-shape whose last queries see all (Li et al. 2024, SCBench, arXiv:2412.10319).

    Attributes:
        n_init: The first keys.
        n_local: The last keys, the query's own among them.
        n_last: The last queries, which see everything before them.
    """

    n_init: int = 128
    n_local: int = 3968
    n_last: int = 100

    def made_of(self) -> Pattern:
        return AShape(self.n_init, self.n_local).made_of() | (Causal() & LastQueries(self.n_last))
