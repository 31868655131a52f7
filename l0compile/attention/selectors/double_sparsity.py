"""Scores from a few channels: Double Sparsity."""

import torch
from torch import Tensor

from l0compile.attention.selectors.scored_keys import ScoredKeys
from l0compile.errors import ConfigError, InputError


class DoubleSparsity(ScoredKeys):
    """Heavy keys, found with the channels that matter (Yang et al. 2024, arXiv:2408.07092).

    Args:
        heads: Number of query heads.
        head_dim: Width of a head.
        heavy_const: Keys that a query sees.
        group_factor: One channel of so many is read; it divides the width of a head.
        q_block: Queries of a row; 1 for decoding, which the method is for.
        causal: Nothing after the query.
        k_block: Keys of a block.
    """

    channels: Tensor

    def __init__(
        self,
        heads: int,
        head_dim: int,
        heavy_const: int = 128,
        group_factor: int = 4,
        q_block: int = 1,
        causal: bool = True,
        k_block: int = 64,
    ) -> None:
        super().__init__(heavy_const, q_block, causal, k_block)
        if head_dim % group_factor:
            raise ConfigError(
                f"DoubleSparsity: expected a group factor that divides {head_dim}, got {group_factor}"
            )
        first = torch.arange(head_dim // group_factor).repeat(heads, 1)
        self.register_buffer("channels", first)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        channels = self.channels[None, :, None]
        q, k = (t.gather(3, channels.expand(*t.shape[:3], -1)) for t in (q, k))
        return q @ k.transpose(-1, -2)

    @torch.no_grad()
    def calibrate(self, q: Tensor, k: Tensor) -> None:
        """Choose the channels with the largest products of queries and keys.

        Args:
            q, k: [B, heads, S, head_dim], of calibration data.
        """
        if q.shape[1] != self.channels.shape[0] or q.shape[3] < self.channels.shape[1]:
            raise InputError(
                f"DoubleSparsity: expected {self.channels.shape[0]} heads of the width that it was made for, got "
                f"queries of {tuple(q.shape)}"
            )
        # The mean of |q k| over all pairs of a query and a key is the product of the means.
        weight = q.abs().mean((0, 2)) * k.abs().mean((0, 2))
        self.channels.copy_(weight.topk(self.channels.shape[1], -1).indices.sort(-1).values)
