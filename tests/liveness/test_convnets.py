"""Facts about convolutions, pools and norms of images: known elements have their value, dead ones do not matter."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.capture import Program, capture

STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda h: F.max_pool2d(h, 3, 2, 1),
    "average": lambda h: F.avg_pool2d(h, 2),
    "average over padding": lambda h: F.avg_pool2d(h, 3, 2, 1),
    "average, ceil mode": lambda h: F.avg_pool2d(h, 3, 2, ceil_mode=True),
    "average, other divisor": lambda h: F.avg_pool2d(h, 2, divisor_override=3),
    "adaptive": lambda h: F.adaptive_avg_pool2d(h, 3),
    "nearest": lambda h: F.interpolate(h, scale_factor=2, mode="nearest"),
    "bilinear": lambda h: F.interpolate(h, scale_factor=2, mode="bilinear"),
    "mean": lambda h: h.mean((2, 3), keepdim=True),
    "sum": lambda h: h.sum((2, 3), keepdim=True),
    "group norm": lambda h: F.group_norm(h, 2),
}


class Step(nn.Module):
    """conv -> bias as it is -> one step -> padded grouped conv, so that constants of all kinds arise."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1, padding=1, groups=2)
        self.c = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(self.step(self.a(x)))))


@pytest.mark.parametrize("name", STEPS)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.2, 0.5]))
def test_sound(
    name: str, seed: int, share: float, check_liveness: Callable[..., int], with_zeros: Callable[..., Program]
) -> None:
    check_liveness(with_zeros(program(name), seed, share), torch.randn(2, 3, 9, 9))


@cache
def program(name: str) -> Program:
    torch.manual_seed(0)
    return capture(Step(STEPS[name]).eval(), (torch.randn(2, 3, 9, 9),))
