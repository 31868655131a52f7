"""Chains of operators that move elements, which TVM fuses into one index expression, are exact.

TVM simplifies such expressions, and got one wrong (two axes of (i + shift) % size); what it makes of ours is tested.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from tests.lower.test_operators import lowered

Step = tuple[str, int, int]


def moved(x: Tensor, step: Step) -> Tensor:
    """One movement, its arguments made legal for the shape at hand."""
    name, a, b = step
    axis, size = a % x.ndim, x.shape[a % x.ndim]
    match name:
        case "roll":
            return x.roll((b, a), (axis, (axis + 1) % x.ndim)) if x.ndim > 1 else x.roll(b, 0)
        case "flip":
            return x.flip(axis)
        case "slice":
            return x.narrow(axis, b % size, size - b % size)
        case "step":
            return x[(slice(None),) * axis + (slice(b % size, None, 1 + b % 3),)]
        case "pad":
            return F.pad(x, (b % 3, a % 3), value=0.5)
        case "circular":
            return F.pad(x[None, None].flatten(2), (b % 2, a % 2), mode="circular")[0, 0]
        case "flatten":
            return x.flatten(0, min(axis, x.ndim - 1))
        case "split":
            factor = next(f for f in (3, 2, 1) if size % f == 0)
            return x.unflatten(axis, (factor, size // factor)) if x.ndim < 4 else x
        case "transpose":
            return x.transpose(axis, b % x.ndim)
        case "repeat":
            return torch.cat([x, x], axis) if b % 2 else x.repeat_interleave(2, axis)
        case "select":
            return x.select(axis, b % size) if x.ndim > 1 else x
        case "cat":
            return torch.cat([x.flip(axis), x], axis)
        case "tile":
            return x.repeat(*[2 if d == axis else 1 for d in range(x.ndim)])
    raise AssertionError(name)


NAMES = ("roll", "flip", "slice", "step", "pad", "circular", "flatten", "split", "transpose", "repeat", "select", "cat",
         "tile")  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 7), st.integers(0, 7)), min_size=2, max_size=6
)


class Chains(nn.Module):
    def __init__(self, chains: list[list[Step]]) -> None:
        super().__init__()
        self.chains = chains

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        results = []
        for chain in self.chains:
            y = x
            for step in chain:
                y = moved(y, step) if y.numel() < 5000 else y
            results.append(y * 2)
        return tuple(results)


def check(chains: list[list[Step]]) -> None:
    model, x = Chains(chains).eval(), torch.randn(4, 3, 6)
    for got, expected, chain in zip(lowered(capture(model, (x,)))(x), model(x), chains, strict=True):
        assert torch.equal(got, expected), chain


@given(st.lists(STEPS, min_size=6, max_size=6))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_chains_are_exact(chains: list[list[Step]]) -> None:
    check(chains)


@pytest.mark.slow
@given(st.lists(STEPS, min_size=10, max_size=10))
@settings(max_examples=60, deadline=None)
def test_many_chains_are_exact(chains: list[list[Step]]) -> None:
    check(chains)


def test_two_rolled_axes() -> None:
    check([[("roll", 1, 2), ("roll", 2, 1)], [("roll", 0, 1)], [("roll", 2, 3), ("flatten", 2, 0)]])
