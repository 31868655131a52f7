"""Fewer tokens for the layers that follow, a number that is fixed, so that compiled code has less to do."""

import torch
from torch import Tensor, nn

from l0compile.attention.best_places import best_places
from l0compile.errors import ConfigError, InputError


class KeepTopTokens(nn.Module):
    """Keeps the tokens with the highest scores, in their order: the nodes of SViTT (Li et al. 2023, arXiv:2304.08809).

    Args:
        token_keep_rate: Share of the tokens that are kept, without those that always are.
        always: The first tokens, which are kept in any case; 1 for a class token.
    """

    def __init__(self, token_keep_rate: float = 0.6, always: int = 1) -> None:
        super().__init__()
        if not 0.0 < token_keep_rate <= 1.0:
            raise ConfigError(f"KeepTopTokens: expected a rate above 0 and up to 1, got {token_keep_rate}")
        self.token_keep_rate, self.always = token_keep_rate, always

    def kept(self, tokens: int) -> int:
        """Return how many of so many tokens are kept."""
        return self.always + max(1, round((tokens - self.always) * self.token_keep_rate))

    def forward(self, x: Tensor, scores: Tensor) -> Tensor:
        """Return the tokens that are kept, [B, kept, D].

        Args:
            x: [B, S, D], with more tokens than are kept in any case.
            scores: [B, S], for instance :func:`attention_of_first`.
        """
        if x.shape[1] <= self.always:
            raise InputError(f"KeepTopTokens: expected more than {self.always} tokens, got {x.shape[1]}")
        first = torch.arange(x.shape[1], device=x.device) < self.always
        best = best_places(scores.masked_fill(first, float("inf")), self.kept(x.shape[1]), ordered=False)
        return x.gather(1, best.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def attention_of_first(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """Return how much the first token attends to each one, [B, S], the mean of all heads.

    Args:
        q, k: [B, S, heads * D], the projections of a self-attention.
        heads: Number of heads.
    """
    first = q[:, :1].unflatten(-1, (heads, -1)).transpose(1, 2)
    keys = k.unflatten(-1, (heads, -1)).transpose(1, 2)
    return (first @ keys.transpose(-1, -2) * keys.shape[-1] ** -0.5).softmax(-1).mean(1).squeeze(1)


class PoolTokens(nn.Module):
    """A few tokens from many, before modalities meet: the pooling of SFT (Ding et al. 2021, arXiv:2111.11992).

    Tokens are pooled in parts of equal length, each weighed by a learned score.

    Args:
        embed_dim: Width of the tokens.
        count: How many are left.
    """

    def __init__(self, embed_dim: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.score = nn.Linear(embed_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, count, D] for x [B, S, D], where S is a multiple of count."""
        if x.shape[1] % self.count:
            raise InputError(f"PoolTokens: expected a multiple of {self.count} tokens, got {x.shape[1]}")
        parts = x.unflatten(1, (self.count, -1))
        return (parts * self.score(parts).softmax(2)).sum(2)
