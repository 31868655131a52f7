"""A small pre-norm transformer with everything the kernels and the ordinary operators have to cover."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program


class TinyTransformer(nn.Module):
    """Embedding, attention with residual, feed-forward with residual, and a head of ordinary operators."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.table = nn.Embedding(50, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.out = nn.Linear(width, 5)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.table(ids)
        h = self.norm1(x)
        q, k, v = (f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        pooled = x.mean(1)
        return {"logits": self.out(x), "pooled": torch.tanh(pooled), "share": torch.softmax(pooled, -1)}


@pytest.fixture(scope="session")
def model() -> nn.Module:
    torch.manual_seed(0)
    return TinyTransformer().eval()


@pytest.fixture(scope="session")
def program(model: nn.Module) -> Program:
    ids: Any = torch.randint(0, 50, (2, 12))
    return capture(model, (ids,), dynamic_shapes={"ids": {0: "batch", 1: "seq"}})
