"""Tokens in buckets: blocks whose queries and keys often share one are seen."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from l0compile.attention.selectors.scored_blocks import ScoredBlocks, by_block
from l0compile.errors import InputError


class BucketScores(ScoredBlocks):
    """Scores a block by how many of its pairs of a query and a key are in the same bucket.

    Args:
        block_size: Queries and keys of a block.
        topk: Blocks of keys that a block of queries sees, its own among them if causal.
        causal: Nothing after the query.
    """

    @abstractmethod
    def members(self, x: Tensor) -> Tensor:
        """Return [B, h, S, hashes, buckets] bool: the bucket of each hash that a token is in; at a tie, all of them."""

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return self._counts(q) @ self._counts(k).transpose(-1, -2)

    def _counts(self, x: Tensor) -> Tensor:
        """[B, h, R, hashes * buckets]: tokens of each block in each bucket."""
        return by_block(self.members(x).to(x.dtype).flatten(3), self.block_size).sum(3)


class HashedScores(BucketScores):
    """Random rotations as hashes: Reformer (Kitaev et al. 2020, arXiv:2001.04451) on blocks.

    Reformer sorts tokens by their bucket and attends within chunks; here blocks whose tokens share buckets are seen
    where they stand. Directions alone count, as for its shared queries and keys.

    Args:
        head_dim: Width of a head.
        n_hashes: Rotations.
        n_buckets: Buckets of each, an even number.
        block_size: Queries and keys of a block.
        topk: Blocks of keys that a block of queries sees, its own among them if causal.
        causal: Nothing after the query.
        seed: Of the rotations.
    """

    rotations: Tensor

    def __init__(
        self,
        head_dim: int,
        n_hashes: int = 4,
        n_buckets: int = 32,
        block_size: int = 64,
        topk: int = 16,
        causal: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(block_size, topk, causal)
        generator = torch.Generator().manual_seed(seed)
        rotations = torch.randn(n_hashes, head_dim, n_buckets // 2, generator=generator)
        self.register_buffer("rotations", rotations)

    def members(self, x: Tensor) -> Tensor:
        hashes, width, half = self.rotations.shape
        turned = x @ self.rotations.transpose(0, 1).reshape(width, hashes * half)
        turned = turned.unflatten(-1, (hashes, half))
        longest = turned.abs().amax(-1, keepdim=True)
        return torch.cat([turned >= longest, -turned >= longest], -1)


class RoutedScores(BucketScores):
    """Clusters of queries and keys: Routing Transformer (Roy et al. 2020, arXiv:2003.05997) on blocks.

    Args:
        heads: Number of query heads.
        head_dim: Width of a head.
        num_clusters: Clusters of each head.
        block_size: Queries and keys of a block.
        topk: Blocks of keys that a block of queries sees, its own among them if causal.
        causal: Nothing after the query.
    """

    centroids: Tensor

    def __init__(
        self,
        heads: int,
        head_dim: int,
        num_clusters: int = 16,
        block_size: int = 64,
        topk: int = 16,
        causal: bool = True,
    ) -> None:
        super().__init__(block_size, topk, causal)
        generator = torch.Generator().manual_seed(0)
        centroids = torch.randn(heads, num_clusters, head_dim, generator=generator)
        self.register_buffer("centroids", nn.functional.normalize(centroids, dim=-1))

    def members(self, x: Tensor) -> Tensor:
        closeness = nn.functional.normalize(x, dim=-1) @ self.centroids.transpose(-1, -2)
        return (closeness >= closeness.amax(-1, keepdim=True)).unsqueeze(3)

    @torch.no_grad()
    def update(self, q: Tensor, k: Tensor, decay: float = 0.999) -> None:
        """Move each centroid towards the mean of the tokens that are closest to it.

        Args:
            q, k: [B, heads, S, head_dim].
            decay: How much of the centroid stays.
        """
        if q.shape[1] != self.centroids.shape[0]:
            raise InputError(f"RoutedScores: expected {self.centroids.shape[0]} heads, got {q.shape[1]}")
        tokens = nn.functional.normalize(torch.cat([q, k], 2), dim=-1).transpose(0, 1).flatten(1, 2)
        nearest = (tokens @ self.centroids.transpose(-1, -2)).argmax(-1)
        member = nn.functional.one_hot(nearest, self.centroids.shape[1]).to(tokens.dtype).transpose(-1, -2)
        number = member.sum(-1, keepdim=True)
        mean = nn.functional.normalize(member @ tokens / number.clamp(min=1), dim=-1)
        moved = nn.functional.normalize(self.centroids * decay + mean * (1 - decay), dim=-1)
        self.centroids.copy_(torch.where(number > 0, moved, self.centroids))
