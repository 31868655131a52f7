"""The format that keeps two of each four neighbours of a row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.two_of_four import fits_two_of_four, from_two_of_four, to_two_of_four

l0 = torch.ops.l0compile


def two_of_four(n: int, k: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, -(-k // 4), 4, generator=random)
    rank = torch.rand(weight.shape, generator=random).argsort(2).argsort(2)
    left = torch.randint(0, 3, weight.shape[:2], generator=random)
    return (weight * (rank < left[..., None])).reshape(n, -1)[:, :k].half()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 150), st.integers(0, 2**32))
def test_there_and_back(n: int, k: int, seed: int) -> None:
    weight = two_of_four(n, k, seed)
    kept, places = to_two_of_four(weight)
    assert fits_two_of_four(weight) and kept.shape == (n, -(-k // 64) * 32) and places.dtype == torch.int32
    assert torch.equal(from_two_of_four(kept, places, n, k), weight)


def test_places_ascend_also_where_nothing_is_kept() -> None:
    """Any others leave the result of a product open."""
    _, places = to_two_of_four(two_of_four(19, 70, 0))
    codes = places.to(torch.int64)[..., None] >> torch.arange(0, 32, 4) & 15
    assert ((codes & 3) < (codes >> 2)).all()


def test_words_are_laid_out_as_the_instruction_reads_them() -> None:
    weight = torch.zeros(16, 64)
    weight[3, 33], weight[3, 35] = 1.0, 2.0  # group 0 of the third 16 columns: places 1 and 3
    weight[11, 62] = 3.0  # its last group, of row 8 + 3: place 2, and 0 for nothing
    _, places = to_two_of_four(weight)
    plain = 0b0100  # the first two
    word = int(places[0, 0, 4 * 3 + 2])
    assert word & 15 == 1 | 3 << 2 and word >> 16 & 15 == plain
    assert int(places[0, 0, 4 * 3 + 3]) >> 28 & 15 == 0 | 2 << 2


def test_the_operator_is_a_linear_layer() -> None:
    weight, x = two_of_four(24, 70, 1), torch.randn(3, 5, 70).half()
    bias, residual = torch.randn(24).half(), torch.randn(3, 5, 24).half()
    found = l0.two_of_four_linear(x, *to_two_of_four(weight), bias, residual, 24, "relu")
    assert torch.equal(found, F.linear(x, weight, bias).relu() + residual)
    arguments = (x, *to_two_of_four(weight), bias, residual, 24, "relu")
    torch.library.opcheck(l0.two_of_four_linear.default, arguments)


def test_what_does_not_fit_is_refused() -> None:
    weight = torch.ones(4, 8)
    assert not fits_two_of_four(weight) and not fits_two_of_four(torch.ones(0, 4))
    with pytest.raises(InputError, match="at most two nonzero numbers in each four"):
        to_two_of_four(weight)
    kept, places = to_two_of_four(torch.zeros(4, 8))
    with pytest.raises(InputError, match="expected kept and places"):
        l0.two_of_four_linear(torch.ones(2, 70), kept, places, None, None, 4, "")
