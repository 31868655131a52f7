"""Layers of integers on rows compute what those on any tensors do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.quantized import int8_bsr_linear, int8_linear, quantize
from l0compile.ir.ops.rows.integers import (
    LARGEST_SUM,
    chunk_blocks,
    row_starts,
    rows_int8_linear,
    rows_quantize,
)
from l0compile.ir.ops.words import from_words, to_words, word_blocks


def layer(n: int, k: int, zero_point: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(weight, start, scale, bias)."""
    weight = torch.randint(-127, 128, (n, k)).to(torch.int8)
    start = row_starts(weight, zero_point)
    assert start is not None
    return weight, start, torch.rand(n) / k, torch.randn(n)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 255), st.booleans())
def test_a_dense_layer(n: int, k: int, zero_point: int, with_bias: bool) -> None:
    (weight, start, scale, bias), x, inverse = (
        layer(n, k, zero_point),
        torch.randn(2, 3, k),
        torch.rand(k) * 99,
    )
    given = bias if with_bias else None
    words = rows_quantize(x, inverse, zero_point)
    assert words.shape == (2, 3, -(-k // 4))
    found = rows_int8_linear(
        words, to_words(weight), None, None, None, start, scale, given, None, None, n, 6, ""
    )
    assert torch.equal(found, int8_linear(quantize(x, inverse, zero_point), weight, scale, given, zero_point))


@pytest.mark.parametrize(("n", "k"), [(64, 80), (50, 70)])
def test_a_layer_in_blocks_with_all_that_may_follow(n: int, k: int) -> None:
    torch.manual_seed(0)
    weight, start, scale, bias = layer(n, k, 100)
    kept = (torch.rand(-(-n // 16), -(-k // 32)) < 0.5).repeat_interleave(16, 0).repeat_interleave(32, 1)
    weight = weight * kept[:n, :k]
    start = row_starts(weight, 100)
    data, indices, indptr = word_blocks(weight, 16, 32)
    q = torch.randint(0, 256, (5, k)).to(torch.uint8)
    plain = int8_bsr_linear(q, data, indices, indptr, scale, bias, 100, n, k)
    given = (to_words(q), chunk_blocks(data), indices, indptr, None, start, scale, bias)
    residual = torch.randn(5, n)
    found = rows_int8_linear(*given, residual, None, n, 5, "relu")
    assert torch.equal(found, F.relu(plain) + residual)
    if n % 4:
        with pytest.raises(InputError, match="whole words of four, got 50"):
            rows_int8_linear(*given, None, torch.ones(n), n, 5, "", 7)
        return
    rounded = rows_int8_linear(*given, None, torch.full((n,), 20.0), n, 5, "", 7)
    assert torch.equal(from_words(rounded, torch.uint8), quantize(plain, torch.full((n,), 20.0), 7))


def test_shapes_are_told_without_computing() -> None:
    weight, start, scale, bias = layer(8, 10, 3)
    x, data = torch.randn(2, 3, 10), to_words(weight)
    arguments = (data, None, None, None, start, scale, bias, None)
    for inverse in (None, torch.ones(8)):
        torch.library.opcheck(
            torch.ops.l0compile.rows_int8_linear.default,
            (rows_quantize(x, torch.ones(10), 3), *arguments, inverse, 8, 6, "", 3),
            test_utils=("test_schema", "test_faketensor"),
        )


def test_starts_are_refused_where_sums_might_not_fit() -> None:
    wide = torch.full((1, LARGEST_SUM // (255 * 127)), 127, dtype=torch.int8)
    assert row_starts(wide, 0) is not None
    assert row_starts(F.pad(wide, (0, 1), value=127), 0) is None
    assert row_starts(wide, 0, torch.tensor([LARGEST_SUM])) is None
    assert row_starts(torch.ones(2, 3, dtype=torch.int8), 5, torch.tensor([7, -7])).tolist() == [-8, -22]
