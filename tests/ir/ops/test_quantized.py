"""Sums of 8-bit integers are exact, in whichever type PyTorch adds them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.ir.ops.quantized import LEVELS


@given(
    st.integers(0, 2**31),
    st.sampled_from([1, 7, 384, 517, 518, 519, 3072]),
    st.sampled_from([0, 12, 128, 254]),
    st.sampled_from([3, 127]),
    st.booleans(),
)
def test_sums_are_those_of_integers(seed: int, k: int, zero_point: int, most: int, biased: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randint(0, LEVELS + 1, (3, 2, k), generator=random, dtype=torch.uint8)
    weight = torch.randint(-most, most + 1, (5, k), generator=random, dtype=torch.int8)
    x[0, 0], weight[0] = LEVELS, most  # the largest sum there is
    scale = torch.rand(5, generator=random)
    bias = torch.randn(5, generator=random) if biased else None
    found = torch.ops.l0compile.int8_linear(x, weight, scale, bias, zero_point)
    sums = (x.long() - zero_point) @ weight.long().T
    wanted = sums.float().double() * scale.double()
    assert torch.equal(found, (wanted if bias is None else wanted + bias.double()).float())


@pytest.mark.parametrize("shape", [(0, 8), (4, 0)])
def test_sums_of_nothing_are_zero(shape: tuple[int, int]) -> None:
    x, weight = torch.zeros(2, shape[1], dtype=torch.uint8), torch.zeros(*shape, dtype=torch.int8)
    found = torch.ops.l0compile.int8_linear(x, weight, torch.ones(shape[0]), None, 3)
    assert torch.equal(found, torch.zeros(2, shape[0]))
