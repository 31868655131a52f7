"""The attention kernel against its oracle: sequences that share a tile, tails, masks, causality."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import MaskSpec
from l0compile.kernels.cpu.narrow import NarrowSpec
from l0compile.kernels.cpu.word_form import FORMS
from l0compile.kernels.token_tile import TokenTile

l0 = torch.ops.l0compile
HEADS, DIM = 2, 8
# Axes of the mask [batch, heads, queries, keys] that have their full extent.
KEYS, FULL, BIAS = (True, False, False, True), (True, True, True, True), (False, True, True, True)
ALL, CAUSAL = (None, None), (None, 0)
# (keys seen before and after a query, axes of the mask or None, whether it is bool)
KINDS = [(ALL, None, True), (CAUSAL, None, True), (ALL, KEYS, True), (CAUSAL, KEYS, False), (CAUSAL, FULL, True),
         (ALL, BIAS, False), (ALL, (True, False, True, True), False)]  # fmt: skip
WINDOWS = [(9, 0), (0, 0), (40, 3), (8, None), (None, 25), (17, 17), (-3, 30), (12, -2), (-4, None), (None, -5),
           (300, 0), (260, 70)]  # fmt: skip


def random_mask(shape: list[int], boolean: bool) -> torch.Tensor:
    mask = torch.rand(shape) < 0.7
    if boolean:
        return mask
    dead = torch.where(torch.rand(shape) < 0.5, float("-inf"), torch.finfo(torch.float32).min)
    return torch.where(mask, torch.randn(shape), dead)


def check(  # type: ignore[no-untyped-def]
    launch,
    tile: TokenTile,
    sizes: tuple[int, int, int],
    kind,
    kv: int = HEADS,
    heads: int = HEADS,
    value: int = DIM,
    numbers: str = "float32",
    softcap: float = 0.0,
) -> None:
    batch, queries, keys = sizes
    window, full, boolean = kind
    q, k, v = (
        torch.randn(batch, s, w) for s, w in ((queries, heads * DIM), (keys, kv * DIM), (keys, kv * value))
    )
    packed = [l0.pack(t, tile.lanes) for t in (q, k, v)]
    if numbers == "bfloat16":
        packed[1:] = l0.packed_bfloat16(packed[1]), token_pairs(launch, tile, packed[2], batch * keys)
    mask, operand, key_mask, bias_heads = None, [], None, 0
    if full:
        shape = [n if wide else 1 for n, wide in zip((batch, heads, queries, keys), full, strict=True)]
        mask = random_mask(shape, boolean)
        spec = MaskSpec(full, boolean)
        operand = [mask if not full[2] else check_mask(launch, tile, spec, mask, sizes)]
        key_mask, bias_heads = (None, shape[1]) if full[2] else (spec, 0)
    attention = AttentionSpec(
        heads, kv, DIM, value, 0.3, *window, key_mask, bias_heads, numbers, None, softcap
    )
    result = (packed[0].shape[0], heads * value, tile.lanes)
    actual = l0.unpack(launch(attention, (*packed, *operand, *sizes), result), [batch, queries])
    expected = l0.attention(q, k, v, mask, heads, 0.3, *window, numbers, softcap)
    if numbers == "float32":
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6)
    else:
        # A weight may be rounded to the neighbour of what the oracle has: by 2^-7 of itself.
        limit = 2.0**-7 * l0.attention(q, k, v.abs(), mask, heads, 0.3, *window, "float32", softcap)
        assert bool(((actual - expected).abs() <= limit + 1e-5).all())
        # Almost all of them are not, and an error elsewhere would show in the mean.
        assert float((actual - expected).abs().mean()) <= 0.05 * float(limit.mean()) + 1e-6


def token_pairs(launch, tile: TokenTile, packed: torch.Tensor, tokens: int) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Values in words of two tokens, by the kernel; lanes past the register of the last token are anything."""
    expected = l0.packed_token_pairs(packed)
    spec = NarrowSpec(packed.shape[1], FORMS["token_pairs"], tokens % tile.lanes)
    actual = launch(spec, (packed,), tuple(expected.shape), None, torch.int32)
    both = [t.view(torch.bfloat16).transpose(1, 2).flatten(0, 1)[:tokens] for t in (actual, expected)]
    assert torch.equal(*both)
    return actual


def check_mask(launch, tile: TokenTile, spec: MaskSpec, mask: torch.Tensor, sizes) -> torch.Tensor:  # type: ignore[no-untyped-def]
    expected = l0.pack_mask(mask, *sizes, tile.lanes)
    actual = launch(spec, (mask, *sizes), tuple(expected.shape))
    assert torch.equal(actual, expected)
    return actual  # type: ignore[no-any-return]


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 6),
    queries=st.integers(1, 90),
    keys=st.one_of(st.none(), st.integers(1, 40)),
    kind=st.sampled_from(KINDS),
)
def test_any_shape(launch, tile: TokenTile, batch: int, queries: int, keys: int | None, kind) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(queries)
    check(launch, tile, (batch, queries, queries if keys is None else keys), kind)


@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 2),
    queries=st.sampled_from([1, 17, 130]),
    keys=st.integers(200, 800),
    kind=st.sampled_from(KINDS),
)
def test_several_steps_of_keys(launch, tile: TokenTile, batch: int, queries: int, keys: int, kind) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(keys)
    check(launch, tile, (batch, queries, keys), kind)


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 5),
    queries=st.integers(1, 150),
    keys=st.one_of(st.none(), st.integers(1, 90)),
    window=st.sampled_from(WINDOWS),
    masked=st.sampled_from([(None, True), (KEYS, True), (KEYS, False), ((False, False, True, True), False)]),
    group=st.integers(1, 3),
    numbers=st.sampled_from(["float32", "float32", "bfloat16"]),
)
def test_windows(launch, tile: TokenTile, batch, queries, keys, window, masked, group, numbers) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(queries)
    sizes = batch, queries, queries if keys is None else keys
    check(launch, tile, sizes, (window, *masked), 2, 2 * group, numbers=numbers)


@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 2), queries=st.integers(500, 900), window=st.sampled_from(WINDOWS),
    masked=st.sampled_from([(None, True), (KEYS, True)]), numbers=st.sampled_from(["float32", "bfloat16"]),
)  # fmt: skip
def test_long_windows(launch, tile: TokenTile, batch, queries, window, masked, numbers) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(queries)
    check(launch, tile, (batch, queries, queries), (window, *masked), numbers=numbers)


@settings(max_examples=15, deadline=None)
@given(live=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=3))
def test_padding_at_both_ends(launch, tile: TokenTile, live: list[tuple[int, int]]) -> None:  # type: ignore[no-untyped-def]
    q, k, v = (torch.randn(len(live), s, HEADS * DIM) for s in (20, 300, 300))
    mask = torch.zeros(len(live), 1, 1, 300, dtype=torch.bool)
    for i, (begin, end) in enumerate(live):
        mask[i, ..., begin:end] = True
    spec = AttentionSpec(HEADS, HEADS, DIM, DIM, 0.3, None, None, MaskSpec(KEYS, True))
    packed = [l0.pack(t, tile.lanes) for t in (q, k, v)]
    actual = launch(spec, (*packed, mask, len(live), 20, 300), tuple(packed[0].shape))
    expected = l0.attention(q, k, v, mask, HEADS, 0.3, None, None)
    torch.testing.assert_close(l0.unpack(actual, [len(live), 20]), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("window", [ALL, CAUSAL, (350, 20)])
def test_large_scores_keep_their_digits(
    launch, tile: TokenTile, window: tuple[int | None, int | None]
) -> None:  # type: ignore[no-untyped-def]
    """Against double precision: the maximum grows from step to step, and the first weights fade to nothing."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 700, HEADS * DIM) for _ in range(3))
    k *= torch.linspace(0.1, 12, 700)[:, None]
    packed = [l0.pack(t, tile.lanes) for t in (q, k, v)]
    spec = AttentionSpec(HEADS, HEADS, DIM, DIM, 0.3, *window)
    actual = l0.unpack(launch(spec, (*packed, 1, 700, 700), tuple(packed[0].shape)), [1, 700])
    expected = l0.attention(q.double(), k.double(), v.double(), None, HEADS, 0.3, *window)
    assert ((actual - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("queries", [5, 40])
def test_a_sequence_of_nan_stays_alone(launch, tile: TokenTile, queries: int) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(3, queries, HEADS * DIM)
    x[1] = float("nan")
    packed = l0.pack(x, tile.lanes)
    spec = AttentionSpec(HEADS, HEADS, DIM, DIM, 0.3, None, None)
    y = launch(spec, (packed, packed, packed, 3, queries, queries), tuple(packed.shape))
    y = l0.unpack(y, [3, queries])
    assert y[[0, 2]].isfinite().all() and y[1].isnan().all()


@pytest.mark.parametrize(("heads", "kv", "value"), [(4, 2, 8), (3, 1, 5), (2, 2, 21)])
@pytest.mark.parametrize("kind", [KINDS[1], KINDS[5]], ids=str)
def test_shared_key_heads_and_other_widths(  # type: ignore[no-untyped-def]
    launch, tile: TokenTile, heads: int, kv: int, value: int, kind
) -> None:
    torch.manual_seed(heads)
    check(launch, tile, (2, 37, 37), kind, kv, heads, value)


@pytest.mark.parametrize("queries", [1, 17, 64, 128, 200, 512])
def test_sequence_lengths_of_the_benchmarks(launch, tile: TokenTile, queries: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(queries)
    check(launch, tile, (2, queries, queries), KINDS[2])


@pytest.mark.parametrize("numbers", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", [(CAUSAL, KEYS, False), (ALL, FULL, True)], ids=str)
def test_scores_have_a_soft_limit(launch, tile: TokenTile, kind, numbers: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    check(launch, tile, (2, 19, 37), kind, numbers=numbers, softcap=0.7)


def test_a_row_with_no_live_key_is_zero(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    x = l0.pack(torch.randn(2, 5, HEADS * DIM), tile.lanes)
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    mask[1] = False
    spec = AttentionSpec(HEADS, HEADS, DIM, DIM, 0.3, None, None, MaskSpec(KEYS, True))
    y = l0.unpack(launch(spec, (x, x, x, mask, 2, 5, 5), tuple(x.shape)), [2, 5])
    assert y[1].abs().max() == 0 and y[0].abs().max() > 0


def test_padding_lanes_do_not_leak(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    x = l0.pack(torch.randn(1, 5, HEADS * DIM), tile.lanes)
    poisoned = x.clone()
    poisoned[:, :, 5:] = float("nan")
    spec = AttentionSpec(HEADS, HEADS, DIM, DIM, 0.3, None, None)
    clean, dirty = (
        l0.unpack(launch(spec, (t, t, t, 1, 5, 5), tuple(x.shape)), [1, 5]) for t in (x, poisoned)
    )
    assert torch.equal(clean, dirty)


@pytest.mark.parametrize("sizes", [(1, 17, 17), (3, 5, 21), (2, 70, 37), (1, 3, 600), (5, 1, 33)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_products_in_bfloat16(launch, tile: TokenTile, sizes: tuple[int, int, int], kind) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    check(launch, tile, sizes, kind, numbers="bfloat16")


def test_shared_heads_in_bfloat16(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    check(launch, tile, (2, 9, 19), (ALL, None, True), kv=2, heads=6, value=5, numbers="bfloat16")
