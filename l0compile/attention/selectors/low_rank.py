"""Scores of low rank, which a training makes agree with the true ones in order: LoRA-Sparse."""

import torch
from torch import Tensor, nn

from l0compile.attention.selectors.scored_keys import ScoredKeys


class LowRankScores(ScoredKeys):
    """Keys by scores of a low rank (Song et al. 2024, Low-Rank Approximation for Sparse Attention, CVPR).

    Args:
        heads: Number of query heads.
        head_dim: Width of a head.
        rank: Width of the projections.
        topk: Keys of a row.
        q_block: Queries of a row; 1 in the paper.
        causal: Nothing after the query.
        k_block: Keys of a block.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        rank: int = 8,
        topk: int = 128,
        q_block: int = 1,
        causal: bool = True,
        k_block: int = 64,
    ) -> None:
        super().__init__(topk, q_block, causal, k_block)
        self.to_q, self.to_k = (nn.Parameter(torch.empty(heads, head_dim, rank)) for _ in range(2))
        with torch.no_grad():
            for weight in (self.to_q, self.to_k):
                nn.init.normal_(weight, std=head_dim**-0.5)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q @ self.to_q) @ (k @ self.to_k).transpose(-1, -2)

    def imitation_loss(self, q: Tensor, k: Tensor) -> Tensor:
        """Return how far the scores are from the true ones, as the divergence of their softmax.

        The weights of attention are what order the keys; the queries and keys themselves get no gradient.

        Args:
            q, k: [B, heads, S, head_dim].
        """
        q, k = q.detach(), k.detach()
        scores = self.scores(q, k), q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if self.causal:
            later = torch.ones(scores[0].shape[-2:], dtype=torch.bool, device=q.device)
            later = later.triu(1 + k.shape[2] - q.shape[2])
            # A finite number: the divergence of what is never seen is 0, not 0 times infinity.
            scores = scores[0].masked_fill(later, -1e4), scores[1].masked_fill(later, -1e4)
        ours, true = (t.log_softmax(-1) for t in scores)
        return nn.functional.kl_div(ours, true, reduction="none", log_target=True).sum(-1).mean()
