"""Multi-head self-attention to the keys of a pattern or a selector."""

from torch import Tensor, nn

from l0compile.attention.attend import attend
from l0compile.attention.layers.static_program import StaticProgram
from l0compile.attention.patterns.pattern import Pattern
from l0compile.attention.selectors.selector import Selector
from l0compile.errors import ConfigError


class SparseAttention(nn.Module):
    """Self-attention with projections, where each query attends to some keys.

    It trains in PyTorch with a dense mask; compiled, keys that no list has are never read.

    Args:
        embed_dim: Width of the tokens.
        num_heads: Query heads; it divides the width.
        keys: A static pattern, or a selector that chooses keys from the queries and keys of each call.
        tokens: Length of the sequence; a pattern needs it.
        kv_heads: Heads of keys and values; as many as query heads if it is not given.
        bias: Whether the projections have one.
        q_block, k_block: Queries and keys of a block of a pattern.

    Raises:
        ConfigError: The heads do not divide the width or each other, or a pattern is given without a length.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        keys: Pattern | Selector,
        tokens: int | None = None,
        *,
        kv_heads: int | None = None,
        bias: bool = True,
        q_block: int = 64,
        k_block: int = 64,
    ) -> None:
        super().__init__()
        kv = num_heads if kv_heads is None else kv_heads
        if embed_dim % num_heads or num_heads % kv:
            raise ConfigError(
                f"SparseAttention: expected {num_heads} heads that divide the width {embed_dim} and are a multiple of "
                f"the {kv} heads of keys"
            )
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        self.to_q = nn.Linear(embed_dim, embed_dim, bias)
        self.to_k, self.to_v = (nn.Linear(embed_dim, kv * self.head_dim, bias) for _ in range(2))
        self.out = nn.Linear(embed_dim, embed_dim, bias)
        self.keys: StaticProgram | Selector
        if isinstance(keys, Selector):
            self.keys = keys
        elif tokens is None:
            raise ConfigError(
                f"SparseAttention: expected the number of tokens for {type(keys).__name__}, got None"
            )
        else:
            self.keys = StaticProgram(keys, tokens, num_heads, q_block, k_block)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of x [B, S, embed_dim], the same shape."""
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        chosen = self.keys
        program = chosen(q, k, self.num_heads) if isinstance(chosen, Selector) else chosen(x.shape[1])
        attended = attend(q, k, v, program, self.num_heads)
        return self.out(attended)
