"""Row programs say which keys are seen; block attention attends to these and to no others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from l0compile.errors import InputError
from l0compile.ir.ops.attention.block import block_attention
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram


def _heads(t: torch.Tensor, heads: int) -> torch.Tensor:
    return t.unflatten(-1, (heads, -1)).transpose(1, 2)


def _mask(data: st.DataObject, queries: int, keys: int, blocks: tuple[int, int]) -> torch.Tensor:
    """A mask with whole blocks live and dead, and others at random."""
    b, h = data.draw(st.sampled_from([(1, 1), (1, 4), (2, 4)]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    rows, columns = -(-queries // blocks[0]), -(-keys // blocks[1])
    kinds = torch.randint(0, 3, (b, h, rows, columns))
    kinds = kinds.repeat_interleave(blocks[0], 2).repeat_interleave(blocks[1], 3)[:, :, :queries, :keys]
    return (kinds == 1) | ((kinds == 2) & (torch.rand(kinds.shape) < 0.4))


@given(data=st.data(), queries=st.integers(1, 70), keys=st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_a_mask_survives_as_a_row_program(data: st.DataObject, queries: int, keys: int) -> None:
    blocks = data.draw(st.sampled_from([(16, 16), (16, 32), (32, 8), (5, 7)]))
    mask = _mask(data, queries, keys, blocks)
    program = RowProgram.from_mask(mask, *blocks)
    assert torch.equal(program.to_mask(queries, keys).expand_as(mask), mask)


@given(data=st.data(), queries=st.integers(1, 40), keys=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_it_is_attention_under_the_dense_mask_and_so_are_its_gradients(
    data: st.DataObject, queries: int, keys: int
) -> None:
    mask = _mask(data, queries, keys, (16, 8)).expand(2, 4, -1, -1)
    q = torch.randn(2, queries, 4 * 6, requires_grad=True)
    k, v = torch.randn(2, keys, 2 * 6, requires_grad=True), torch.randn(2, keys, 2 * 5, requires_grad=True)
    program = RowProgram.from_mask(mask, 16, 8)
    y = block_attention(q, k, v, *program.operands(), None, None, 4, 16, 8, 0.4)
    dense = scaled_dot_product_attention(
        _heads(q, 4), _heads(k, 2), _heads(v, 2), mask, scale=0.4, enable_gqa=True
    )
    expected = dense.transpose(1, 2).flatten(-2)
    torch.testing.assert_close(y, expected)
    direction = torch.randn_like(y)
    found, wanted = (torch.autograd.grad((r * direction).sum(), (q, k, v)) for r in (y, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_columns_bias_softcap_and_the_logarithm_of_the_sum() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 20, 2 * 4) for _ in range(3))
    columns = RowLists(torch.tensor([[[2, 1]]], dtype=torch.int32), torch.tensor([[[[3, 19], [7, 0]]]]).int())
    program = RowProgram(10, 10, columns=columns)
    bias = torch.randn(2, 39)
    y = block_attention(q, k, v, *program.operands(), None, bias, 2, 10, 10, 0.5, 2.0, True)
    scores = _heads(q, 2) @ _heads(k, 2).transpose(-1, -2) * 0.5
    distance = torch.arange(20).unsqueeze(1) - torch.arange(20)
    scores = 2.0 * torch.tanh(scores / 2.0) + bias[:, distance + 19]
    live = torch.zeros(20, 20, dtype=torch.bool)
    live[:10, [3, 19]] = True
    live[10:, 7] = True
    scores = scores.masked_fill(~live, float("-inf"))
    torch.testing.assert_close(y[..., :8], (scores.softmax(-1) @ _heads(v, 2)).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(y[..., 8:], scores.logsumexp(-1).transpose(1, 2))


def test_a_key_listed_twice_or_past_the_end_is_refused() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.int32)
    block = RowLists(one, torch.zeros(1, 1, 1, 1, dtype=torch.int32))
    key = RowLists(one, torch.full((1, 1, 1, 1), 3, dtype=torch.int32))
    with pytest.raises(InputError, match="lists twice"):
        RowProgram(4, 4, full=block, columns=key).to_mask(4, 8)
    with pytest.raises(InputError, match="from 0 to 2"):
        RowProgram(4, 4, columns=key).to_mask(4, 3)
    with pytest.raises(InputError, match="2 rows of 4"):
        RowProgram(4, 4, full=block).to_mask(8, 8)
