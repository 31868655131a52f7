"""l0compile::bsr_linear against a dense linear layer; conversion to blocks and back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.bsr import from_blocks, heaviest_first, nonzero_blocks, to_blocks

bsr_linear = torch.ops.l0compile.bsr_linear


@st.composite
def sparse_weights(draw: st.DrawFn) -> tuple[Tensor, int, int]:
    rows, cols = draw(st.sampled_from([(4, 1), (4, 4), (1, 1), (2, 1), (8, 1), (3, 5)]))
    n, k = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    g = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    keep = torch.rand(-(-n // rows), -(-k // cols), generator=g) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    spread = keep.repeat_interleave(rows, 0).repeat_interleave(cols, 1)[:n, :k]
    return torch.randn(n, k, generator=g) * spread, rows, cols


@given(sparse_weights(), st.booleans())
def test_equals_dense_linear(problem: tuple[Tensor, int, int], with_bias: bool) -> None:
    weight, rows, cols = problem
    n, k = weight.shape
    data, indices, indptr = to_blocks(weight, rows, cols)
    assert torch.equal(from_blocks(data, indices, indptr, n, k), weight)
    assert data.shape == (len(indices), cols, rows) and indices.dtype == indptr.dtype == torch.int32
    assert len(data) == int(nonzero_blocks(weight, rows, cols).sum())
    x, bias = torch.randn(2, 3, k), torch.randn(n) if with_bias else None
    torch.testing.assert_close(bsr_linear(x, data, indices, indptr, bias, n, k), F.linear(x, weight, bias))


def test_blocks_are_stored_transposed_and_in_order() -> None:
    weight = torch.zeros(4, 4)
    weight[2:, 2:] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    weight[2:, :2] = 5.0
    data, indices, indptr = to_blocks(weight, 2, 2)
    assert indices.tolist() == [0, 1] and indptr.tolist() == [0, 0, 2]
    assert data[1].tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_schema_and_fake() -> None:
    parts = to_blocks(torch.randn(6, 5), 4, 1)
    torch.library.opcheck(
        bsr_linear.default,
        (torch.randn(3, 5), *parts, None, 6, 5),
        test_utils=("test_schema", "test_faketensor"),
    )


def test_rows_with_an_activation_a_residual_and_an_order() -> None:
    weight, x, residual = torch.randn(6, 5), torch.randn(3, 5), torch.randn(3, 6)
    weight[:4] = 0
    parts = to_blocks(weight, 2, 1)
    order = heaviest_first(parts[2])
    assert order.tolist() == [2, 0, 1] and order.dtype == torch.int32
    arguments = (x, *parts, order, None, residual, 6, "relu")
    found = torch.ops.l0compile.rows_bsr_linear(*arguments)
    torch.testing.assert_close(found, F.linear(x, weight).relu() + residual)
    operator = torch.ops.l0compile.rows_bsr_linear.default
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("width", "n", "words"), [(4, 6, "x of 5 features"), (5, 20, "indptr of 6 entries")])
def test_refuses(width: int, n: int, words: str) -> None:
    parts = to_blocks(torch.randn(6, 5), 4, 1)
    with pytest.raises(InputError, match=words):
        bsr_linear(torch.zeros(2, width), *parts, None, n, 5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_nonzero_blocks_against_plain_counting(n: int, k: int, rows: int, cols: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(n, k, generator=generator) * (torch.rand(n, k, generator=generator) < 0.1)
    expected = [
        [bool((weight[i : i + rows, j : j + cols] != 0).any()) for j in range(0, k, cols)]
        for i in range(0, n, rows)
    ]
    assert nonzero_blocks(weight, rows, cols).tolist() == expected
    assert nonzero_blocks(weight != 0, rows, cols).tolist() == expected
