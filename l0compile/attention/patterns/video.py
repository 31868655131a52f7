"""What heads of video transformers look at: diagonals, several of them, stripes, a frame, a place in all frames."""

from dataclasses import dataclass

from torch import Tensor

from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.pattern import Pattern


@dataclass(frozen=True)
class MultiDiagonal(Pattern):
    """Keys near the query's place in its own frame and in all others (Sparse-vDiT, arXiv:2506.03065).

    A single diagonal is ``SlidingWindow(width, causal=False)``.

    Attributes:
        width: ``width // 2`` keys on either side of each place.
        period: Tokens of a frame.
    """

    width: int
    period: int

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        half = self.width // 2
        return (q - k + half) % self.period <= 2 * half

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (grid.distances() % self.period,)


@dataclass(frozen=True)
class VerticalStripes(Pattern):
    """The first keys of each frame, for every query (Sparse-vDiT, arXiv:2506.03065).

    Attributes:
        width: How many keys of a frame.
        period: Tokens of a frame.
    """

    width: int
    period: int

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return k % self.period < self.width

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        return (grid.column_starts() % self.period,)


@dataclass(frozen=True)
class FrameTokens(Pattern):
    """Blocks that are near each other in one order of a video's tokens; text sees all and is seen by all.

    Attributes:
        num_frame, frame_size, context_length, mul, block_size: See :class:`SpatialHead`.
        by_place: Order tokens by their place in the frame first, and then by frame.
    """

    num_frame: int
    frame_size: int
    context_length: int = 0
    mul: float = 1.5
    block_size: int = 128
    by_place: bool = False

    def live(self, grid: BlockGrid, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        text = self.num_frame * self.frame_size
        reach = int(self.frame_size * self.mul) // self.block_size
        near = (self._block(q) - self._block(k)).abs() < reach
        return near | (q >= text) | (k >= text)

    def facts(self, grid: BlockGrid) -> tuple[Tensor, ...]:
        if self.by_place:
            return super().facts(grid)
        text = self.num_frame * self.frame_size
        return (
            grid.distances(),
            grid.column_starts() % self.block_size,
            grid.row_starts().clamp(text - grid.q_block, text),
            grid.column_starts().clamp(text - grid.k_block, text),
        )

    def _block(self, token: Tensor) -> Tensor:
        if self.by_place:
            token = token % self.frame_size * self.num_frame + token // self.frame_size
        return token // self.block_size


@dataclass(frozen=True)
class SpatialHead(FrameTokens):
    """A head that looks at its own frame and those beside it (Sparse VideoGen, arXiv:2502.01776).

    Tokens stand frame by frame, the text behind them.

    Attributes:
        num_frame: Frames.
        frame_size: Tokens of a frame.
        context_length: Tokens of text.
        mul: Frames that the blocks in reach span.
        block_size: Tokens of a block.
        by_place: False.
    """


@dataclass(frozen=True)
class TemporalHead(FrameTokens):
    """A head that looks at its own place in all frames (Sparse VideoGen, arXiv:2502.01776).

    Attributes:
        num_frame, frame_size, context_length, mul, block_size: See :class:`SpatialHead`.
        by_place: True.
    """

    by_place: bool = True
