"""The packed operators against plain PyTorch: they are the oracle of the kernels, so they are checked first."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from l0compile.ir.ops.bsr import dense_blocks, to_blocks

l0 = torch.ops.l0compile
sizes = st.integers(1, 9)


@given(batch=sizes, tokens=sizes, features=sizes, lanes=st.sampled_from([4, 16]))
def test_unpack_inverts_pack(batch: int, tokens: int, features: int, lanes: int) -> None:
    x = torch.randn(batch, tokens, features)
    packed = l0.pack(x, lanes)
    assert packed.shape == (-(-batch * tokens // lanes), features, lanes)
    assert torch.equal(l0.unpack(packed, [batch, tokens]), x)
    # Token m of the flattened rows is lane m % lanes of tile m // lanes.
    last = batch * tokens - 1
    assert torch.equal(packed[last // lanes, :, last % lanes], x.reshape(-1, features)[last])


@given(n=sizes, k=sizes, rows=st.integers(1, 4), cols=st.integers(1, 3), seed=st.integers(0, 99))
def test_packed_linear_is_linear(n: int, k: int, rows: int, cols: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, bias, residual = torch.randn(7, k), torch.randn(n), torch.randn(7, n)
    weight = torch.randn(n, k) * (torch.rand(n, k) < 0.5)
    expected = F.gelu(F.linear(x, weight, bias)) + residual
    px, pr = l0.pack(x, 4), l0.pack(residual, 4)
    sparse = l0.packed_linear(px, *to_blocks(weight, rows, cols), bias, pr, n, "gelu")
    dense = l0.packed_linear(px, dense_blocks(weight, rows), None, None, bias, pr, n, "gelu")
    for y in (sparse, dense):
        torch.testing.assert_close(l0.unpack(y, [7]), expected)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3),
    queries=sizes,
    keys=sizes,
    window=st.sampled_from([(None, None), (None, 0), (3, 1), (2, None), (-1, 4)]),
)
def test_packed_attention_is_attention(batch: int, queries: int, keys: int, window: tuple[int, int]) -> None:
    q, k, v = torch.randn(batch, queries, 6), torch.randn(batch, keys, 6), torch.randn(batch, keys, 6)
    mask = torch.rand(batch, 1, 1, keys) < 0.7
    expected = l0.attention(q, k, v, mask, 2, 0.5, *window)
    packed = [l0.pack(t, 8) for t in (q, k, v)]
    y = l0.packed_attention(*packed, mask, None, batch, queries, keys, 2, 0.5, *window)
    torch.testing.assert_close(l0.unpack(y, [batch, queries]), expected)


@settings(max_examples=20)
@given(
    batch=st.integers(1, 3), queries=sizes, keys=sizes, heads=st.sampled_from([1, 2]), boolean=st.booleans()
)
def test_a_packed_mask_is_the_mask(batch: int, queries: int, keys: int, heads: int, boolean: bool) -> None:
    q, k = torch.randn(batch, queries, 6), torch.randn(batch, keys, 6)
    mask, padding = torch.randn(1, heads, queries, keys), torch.rand(batch, 1, 1, keys) < 0.7
    if boolean:
        mask = mask > 0
    expected = (mask & padding) if boolean else mask.masked_fill(~padding, float("-inf"))
    expected = l0.attention(q, k, k, expected, 2, 0.5, None, None)
    packed = [l0.pack(t, 4) for t in (q, k, k)]
    bias = l0.pack_mask(mask, batch, queries, keys, 4)
    y = l0.packed_attention(*packed, padding, bias, batch, queries, keys, 2, 0.5, None, None)
    torch.testing.assert_close(l0.unpack(y, [batch, queries]), expected)


@pytest.mark.parametrize("affine", [True, False])
def test_packed_norms_are_norms(affine: bool) -> None:
    x = torch.randn(5, 12) * 3 + 1
    weight, bias = (torch.randn(12), torch.randn(12)) if affine else (None, None)
    y = l0.unpack(l0.packed_layer_norm(l0.pack(x, 4), weight, bias, 1e-5, 12, 0.0, 0.0), [5])
    torch.testing.assert_close(y, F.layer_norm(x, (12,), weight, bias, 1e-5))
    y = l0.unpack(l0.packed_rms_norm(l0.pack(x, 4), weight, 1e-5, 12, 0.0), [5])
    torch.testing.assert_close(y, F.rms_norm(x, (12,), weight, 1e-5))


@pytest.mark.parametrize(
    "name",
    [
        "pack",
        "unpack",
        "pack_mask",
        "packed_linear",
        "packed_attention",
        "packed_layer_norm",
        "packed_rms_norm",
    ],
)
def test_fake_and_real_agree(name: str) -> None:
    x, w = torch.randn(2, 3, 4), torch.randn(5, 4)
    p = l0.pack(x, 4)
    args = {
        "pack": (x, 4),
        "unpack": (p, [2, 3]),
        "pack_mask": (torch.randn(2, 1, 5) > 0, 3, 1, 5, 4),
        "packed_linear": (p, dense_blocks(w, 2), None, None, None, None, 5, "relu"),
        "packed_attention": (p, p, p, None, None, 2, 3, 3, 2, 1.0, None, None),
        "packed_layer_norm": (p, None, None, 1e-5, 6, 0.1, 0.2),
        "packed_rms_norm": (p, None, 1e-5, 6, 0.2),
    }[name]
    torch.library.opcheck(getattr(l0, name).default, args, test_utils=("test_schema", "test_faketensor"))
