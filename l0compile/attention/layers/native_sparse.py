"""Native sparse attention: compressed, selected and near keys, weighed by gates."""

import torch
from torch import Tensor, nn

from l0compile.attention.attend import attend
from l0compile.attention.layers.compressed_keys import (
    CompressSpans,
    hidden_spans,
    shares_of_blocks,
    span_count,
)
from l0compile.attention.layers.static_program import StaticProgram
from l0compile.attention.patterns.block_grid import BlockGrid
from l0compile.attention.patterns.window import SlidingWindow
from l0compile.attention.selectors.block_choice import best_blocks
from l0compile.errors import ConfigError
from l0compile.ir.ops.attention.row_program import RowProgram


class NativeSparseAttention(nn.Module):
    """Causal self-attention in three branches (Yuan et al. 2025, NSA, arXiv:2502.11089), to train from scratch.

    Each branch has keys and values of its own. Every query attends to compressed spans; the blocks in which the
    spans with most attention lie are selected, the first one and the nearest always; and a window of near keys. A
    gate between 0 and 1 weighs each branch, for each query and head.

    Args:
        embed_dim: Width of the tokens.
        num_heads: Query heads; it divides the width.
        tokens: Length of the sequence.
        kv_heads: Heads of keys and values. Query heads that share one also share the blocks.
        compress_block_size: Tokens of a span, l of the paper.
        compress_stride: Tokens between the beginnings of spans, d of the paper.
        block_size: Tokens of a selected block.
        num_blocks: Selected blocks, with the first and the nearest, n of the paper.
        num_init: The first blocks, always selected.
        num_local: The nearest blocks, the query's own among them, always selected.
        window: Keys of the window, the query's own among them.
        q_block: Queries that share the blocks that the first of them selects, so that none is selected by what comes
            later. 1 in the paper; with more, a kernel reads a block once for all of them.

    Raises:
        ConfigError: The sizes do not divide each other, or the sequence is shorter than a span.
    """

    hidden: Tensor
    shares: Tensor

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        tokens: int,
        *,
        kv_heads: int | None = None,
        compress_block_size: int = 32,
        compress_stride: int = 16,
        block_size: int = 64,
        num_blocks: int = 16,
        num_init: int = 1,
        num_local: int = 2,
        window: int = 512,
        q_block: int = 16,
    ) -> None:
        super().__init__()
        kv = num_heads if kv_heads is None else kv_heads
        if embed_dim % num_heads or num_heads % kv or not span_count(tokens, compress_block_size, 1):
            raise ConfigError(
                f"NativeSparseAttention: expected heads that divide the width and a span of {compress_block_size} in "
                f"{tokens} tokens, got {num_heads} query and {kv} key heads for width {embed_dim}"
            )
        self.num_heads, self.kv_heads, self.head_dim = num_heads, kv, embed_dim // num_heads
        self.block_size, self.q_block = block_size, q_block
        self.num_blocks, self.num_init, self.num_local = num_blocks, num_init, num_local
        self.to_q = nn.Linear(embed_dim, embed_dim)
        self.to_keys, self.to_values = (nn.Linear(embed_dim, 3 * kv * self.head_dim) for _ in range(2))
        self.compress_keys, self.compress_values = (
            CompressSpans(self.head_dim, compress_block_size, compress_stride) for _ in range(2)
        )
        self.gates = nn.Linear(embed_dim, 3 * num_heads)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.near = StaticProgram(SlidingWindow(window), tokens, num_heads)
        hidden = hidden_spans(tokens, compress_block_size, compress_stride)
        shares = shares_of_blocks(tokens, compress_block_size, compress_stride, block_size)
        self.register_buffer("hidden", hidden, persistent=False)
        self.register_buffer("shares", shares, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of x [B, S, embed_dim], the same shape."""
        near = self.near(x.shape[1])
        q, keys, values = self.to_q(x), self.to_keys(x).chunk(3, -1), self.to_values(x).chunk(3, -1)
        compressed, attention = self._compressed(q, keys[0], values[0])
        branches = [
            compressed,
            attend(q, keys[1], values[1], self.selected(attention), self.num_heads),
            attend(q, keys[2], values[2], near, self.num_heads),
        ]
        weights = self.gates(x).sigmoid().unflatten(-1, (3, self.num_heads))
        apart = torch.stack(branches, 2).unflatten(-1, (self.num_heads, self.head_dim))
        return self.out((apart * weights.unsqueeze(-1)).sum(2).flatten(-2))

    def _compressed(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(attention to spans [B, S, width], its weights [B, heads, S, C]); before the first span ends it is 0."""
        k, v = (t.unflatten(-1, (self.kv_heads, -1)).transpose(1, 2) for t in (k, v))
        k, v = (
            t.repeat_interleave(self.num_heads // self.kv_heads, 1)
            for t in (self.compress_keys(k), self.compress_values(v))
        )
        queries = q.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        scores = queries @ k.transpose(-1, -2) * self.head_dim**-0.5
        weights = scores.masked_fill(self.hidden, -1e9).softmax(-1).masked_fill(self.hidden, 0.0)
        return (weights @ v).transpose(1, 2).flatten(-2), weights

    def selected(self, attention: Tensor) -> RowProgram:
        """Return the blocks for the attention to spans [B, heads, S, C]."""
        heads, tokens = attention.shape[1:3]
        group = heads // self.kv_heads
        shared = attention.detach()[:, :, :: self.q_block].unflatten(1, (self.kv_heads, group)).sum(2)
        scores = shared @ self.shares
        grid = BlockGrid(tokens, tokens, heads, self.q_block, self.block_size)
        number = torch.arange(grid.columns, device=scores.device)
        own = torch.arange(grid.rows, device=scores.device).unsqueeze(1) * self.q_block // self.block_size
        forced = (number < self.num_init) | ((number <= own) & (number > own - self.num_local))
        scores = scores.masked_fill(forced, 1e9)
        return best_blocks(grid, scores.repeat_interleave(group, 1), self.num_blocks, causal=True)
