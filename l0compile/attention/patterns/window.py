"""Keys near the query: sliding and dilated windows, and all that came before."""

from dataclasses import dataclass

from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern


def distance_facts(grid: BlockGrid, nearest: int, farthest: int) -> Tensor:
    """[R, N]: what decides a block of a rule that is constant for distances outside nearest .. farthest.

    Args:
        grid: The blocks.
        nearest: The smallest distance, position of the query minus that of the key, at which the rule changes.
        farthest: The largest one.
    """
    return grid.distances().clamp(nearest - grid.q_block, farthest + grid.k_block)


@dataclass(frozen=True)
class Causal(Pattern):
    """Each query sees its own position and those before it."""

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k <= q

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (distance_facts(grid, 0, 0),)


@dataclass(frozen=True)
class SlidingWindow(Pattern):
    """The keys of a window (Mistral, arXiv:2310.06825; ModernBERT; Longformer's local part).

    Attributes:
        window: Causal: how many keys a query sees, itself the last of them (``sliding_window`` of Mistral). Otherwise
            ``window // 2`` keys on either side beside its own (``local_attention`` of ModernBERT).
        causal: Nothing after the query.
    """

    window: int
    causal: bool = True

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        nearest, farthest = self._reach()
        return (q - k >= nearest) & (q - k <= farthest)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (distance_facts(grid, *self._reach()),)

    def _reach(self) -> tuple[int, int]:
        return (0, self.window - 1) if self.causal else (-(self.window // 2), self.window // 2)


@dataclass(frozen=True)
class Dilated(Pattern):
    """A window with gaps: every ``dilation``-th key (DiNAT, arXiv:2209.15001; Longformer, arXiv:2004.05150).

    Attributes:
        kernel_size: Causal: how many keys a query sees. Otherwise ``kernel_size // 2`` on either side beside its own.
        dilation: Distance of neighbouring keys.
        causal: Nothing after the query.
    """

    kernel_size: int
    dilation: int
    causal: bool = False

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        nearest, farthest = self._reach()
        return (q - k >= nearest) & (q - k <= farthest) & ((q - k) % self.dilation == 0)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (distance_facts(grid, *self._reach()),)

    def _reach(self) -> tuple[int, int]:
        half = self.kernel_size // 2 * self.dilation
        return (0, (self.kernel_size - 1) * self.dilation) if self.causal else (-half, half)
