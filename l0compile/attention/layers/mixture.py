"""Mixture of sparse attention: each head chooses its tokens."""

import torch
from torch import Tensor, nn

from l0compile.attention.best_places import best_places
from l0compile.errors import ConfigError


class MixtureOfSparseAttention(nn.Module):
    """Heads that each attend within the few tokens that they chose (Piekos et al. 2025, MoSA, arXiv:2505.00315).

    A router gives each token a score for each head; a head takes the tokens with the highest scores, computes queries,
    keys and values for these alone, and adds what it finds to them, weighed by the score. To choose it looks at the
    whole sequence, also where attention is causal.

    Args:
        embed_dim: Width of the tokens.
        num_heads: Heads.
        sparsity: A head takes one token of so many, and 2 or more.
        head_dim: Width of a head; ``embed_dim // num_heads`` if it is not given.
        causal: A token attends to those of its head that do not come after it.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        sparsity: int = 16,
        head_dim: int | None = None,
        causal: bool = True,
    ) -> None:
        super().__init__()
        width = embed_dim // num_heads if head_dim is None else head_dim
        if min(width, sparsity) < 1:
            raise ConfigError(
                f"MixtureOfSparseAttention: expected a head of width 1 or more and a sparsity of 1 or more, got "
                f"{width} and {sparsity}"
            )
        self.sparsity, self.causal = sparsity, causal
        self.router = nn.Linear(embed_dim, num_heads, bias=False)
        self.to_qkv = nn.Parameter(torch.empty(num_heads, embed_dim, 3 * width))
        self.out = nn.Parameter(torch.empty(num_heads, width, embed_dim))
        with torch.no_grad():
            nn.init.normal_(self.to_qkv, std=embed_dim**-0.5)
            nn.init.normal_(self.out, std=(width * num_heads) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the heads add to each token of x [B, S, embed_dim], the same shape; 0 where no head chose it."""
        scores = self.router(x).sigmoid().transpose(1, 2)
        chosen = best_places(scores, self.capacity(x.shape[1]), ordered=False)
        weight = scores.gather(-1, chosen).unsqueeze(-1)
        place = chosen.unsqueeze(-1).expand(-1, -1, -1, x.shape[-1])
        tokens = x.unsqueeze(1).expand(-1, chosen.shape[1], -1, -1).gather(2, place)
        q, k, v = (tokens @ self.to_qkv).chunk(3, -1)
        # In the order of their places, so that what comes after is what has a higher number.
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        added = (attended @ self.out * weight).flatten(1, 2)
        return torch.zeros_like(x).scatter_add(1, place.flatten(1, 2), added)

    def capacity(self, tokens: int) -> int:
        """Return how many of so many tokens a head takes."""
        return min(tokens, max(2, tokens // self.sparsity))
