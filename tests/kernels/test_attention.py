"""The attention kernel against its oracle: sequences that share a tile, tails, masks, causality."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.kernels import AttentionSpec, TokenTile

l0 = torch.ops.l0compile
HEADS, DIM = 2, 8
KEY_MASK, FULL_MASK = (True, False, False, True), (True, True, True, True)


def check(launch, tile: TokenTile, batch: int, queries: int, keys: int, causal: bool, pattern) -> None:  # type: ignore[no-untyped-def]
    q, k, v = (torch.randn(batch, s, HEADS * DIM) for s in (queries, keys, keys))
    mask = None
    if pattern:
        shape = [n if full else 1 for n, full in zip((batch, HEADS, queries, keys), pattern, strict=True)]
        mask = torch.rand(shape) < 0.7
    packed = [l0.pack(t, tile.lanes) for t in (q, k, v)]
    spec = AttentionSpec(HEADS, DIM, 0.3, causal, pattern)
    operands = (*packed, *([mask] if mask is not None else []), batch, queries, keys)
    actual = l0.unpack(launch(spec, operands, tuple(packed[0].shape)), [batch, queries])
    torch.testing.assert_close(actual, l0.attention(q, k, v, mask, HEADS, 0.3, causal), rtol=1e-5, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 6),
    queries=st.integers(1, 90),
    keys=st.one_of(st.none(), st.integers(1, 40)),
    kind=st.sampled_from([(False, None), (True, None), (False, KEY_MASK), (True, FULL_MASK)]),
)
def test_any_shape(launch, tile: TokenTile, batch: int, queries: int, keys: int | None, kind) -> None:  # type: ignore[no-untyped-def]
    causal, pattern = kind
    torch.manual_seed(queries)
    check(launch, tile, batch, queries, queries if keys is None else keys, causal, pattern)


@pytest.mark.parametrize("queries", [1, 17, 64, 128, 200, 512])
def test_sequence_lengths_of_the_benchmarks(launch, tile: TokenTile, queries: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(queries)
    check(launch, tile, 2, queries, queries, False, KEY_MASK)


def test_a_row_with_no_live_key_is_zero(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    x = l0.pack(torch.randn(2, 5, HEADS * DIM), tile.lanes)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1] = False
    spec = AttentionSpec(HEADS, DIM, 0.3, False, KEY_MASK)
    y = l0.unpack(launch(spec, (x, x, x, mask, 2, 5, 5), tuple(x.shape)), [2, 5])
    assert y[1].abs().max() == 0 and y[0].abs().max() > 0


def test_padding_lanes_do_not_leak(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    x = l0.pack(torch.randn(1, 5, HEADS * DIM), tile.lanes)
    poisoned = x.clone()
    poisoned[:, :, 5:] = float("nan")
    spec = AttentionSpec(HEADS, DIM, 0.3, False, None)
    clean, dirty = (
        l0.unpack(launch(spec, (t, t, t, 1, 5, 5), tuple(x.shape)), [1, 5]) for t in (x, poisoned)
    )
    assert torch.equal(clean, dirty)
