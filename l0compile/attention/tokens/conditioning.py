"""Features that another input opens and closes: a gate computed in each call."""

import torch
from torch import Tensor, nn


class ConditioningGate(nn.Module):
    """Multiplies features by gates that follow from another input, as SGAMF lets a table steer what it takes of a text.

    While it trains, gates are between 0 and 1. In evaluation mode those below the threshold are exactly 0.

    Args:
        condition_dim: Width of the input that decides.
        embed_dim: Features that are gated.
        hidden_dim: Width of the layer between.
        threshold: Gates below it are closed in evaluation mode; 0 closes none.
    """

    def __init__(
        self, condition_dim: int, embed_dim: int, hidden_dim: int = 64, threshold: float = 0.1
    ) -> None:
        super().__init__()
        self.threshold = threshold
        self.inner = nn.Linear(condition_dim, hidden_dim)
        self.outer = nn.Linear(hidden_dim, embed_dim)
        nn.init.constant_(self.outer.bias, 2.0)  # open at the start

    def gates(self, condition: Tensor) -> Tensor:
        """Return the gates [B, embed_dim] for condition [B, condition_dim]."""
        gates = self.outer(nn.functional.gelu(self.inner(condition))).sigmoid()
        return gates if self.training else torch.where(gates < self.threshold, 0.0, gates)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Return x [B, ..., embed_dim] with its features gated by condition [B, condition_dim]."""
        gates = self.gates(condition)
        return x * gates.view(gates.shape[0], *[1] * (x.ndim - 2), gates.shape[1])
