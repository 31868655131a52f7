"""Windows of an image, shifted or not."""

from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern


@dataclass(frozen=True)
class SwinWindows(Pattern):
    """Square windows of an image whose tokens stand row by row (Liu et al. 2021, arXiv:2103.14030).

    With a shift, the first windows end after ``shift_size`` tokens, and the last ones are what is left: what Swin's
    cyclic shift computes with its mask.

    Attributes:
        height, width: Tokens of the image.
        window_size: Edge of a window.
        shift_size: How far windows are shifted, less than their edge; 0 in every second layer.
    """

    height: int
    width: int
    window_size: int = 7
    shift_size: int = 0

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return self._window(q) == self._window(k)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        """Blocks that share no line of windows show nothing."""
        ends = grid.row_starts() + grid.q_block - 1, grid.column_starts() + grid.k_block - 1
        (q_low, k_low), (q_high, k_high) = (
            [self._line(t) for t in pair] for pair in ((grid.row_starts(), grid.column_starts()), ends)
        )
        meet = (q_low <= k_high) & (k_low <= q_high)
        return (torch.where(meet, super().facts(grid)[0], -1),)

    def _line(self, token: Tensor) -> Tensor:
        return (token // self.width + self._before()) // self.window_size

    def _window(self, token: Tensor) -> Tensor:
        across = (token % self.width + self._before()) // self.window_size
        return self._line(token) * (self.width + 2) + across

    def _before(self) -> int:
        """How much of the first window lies before the edge."""
        return self.window_size - self.shift_size
