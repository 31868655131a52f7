"""TVM cancels what is added and subtracted again; PyTorch rounds in between, and models rely on it."""

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0

ROUNDS = 1.5 * 2**23
"""Adding this to a float32 rounds it to an integer."""


class Rounding(nn.Module):
    """Round by adding a large number, given as a number or as a buffer."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("large", torch.full((8,), ROUNDS))

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "number":
            return (x + ROUNDS) - ROUNDS
        if self.way == "subtracted first":
            return ROUNDS - (ROUNDS - x)
        return (x + self.large) - self.large  # type: ignore[operator]


@pytest.mark.parametrize("way", ["number", "subtracted first", "buffer"])
def test_rounding_by_a_large_number(way: str) -> None:
    model, x = Rounding(way).eval(), torch.randn(3, 8) * 20
    compiled = l0.compile(model, (x,), engine="tvm")
    assert not compiled.explain().islands
    assert torch.equal(compiled(x), x.round()) and torch.equal(model(x), x.round())


class Finite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x == 0


def test_infinity_less_itself_is_no_number() -> None:
    x = torch.tensor([1.0, torch.inf, -torch.inf, torch.nan])
    compiled = l0.compile(Finite().eval(), (torch.ones(4),), engine="tvm")
    assert compiled(x).tolist() == [True, False, False, False]
