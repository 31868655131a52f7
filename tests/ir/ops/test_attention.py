"""l0compile::attention against torch's scaled_dot_product_attention, its fake, and its errors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import l0compile.ir.ops  # noqa: F401  (registers the operator)
from l0compile.errors import InputError

attention = torch.ops.l0compile.attention


def split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


@given(
    st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4),
    st.integers(1, 4), st.sampled_from(["none", "keys", "full", "causal", "added", "lowest", "window"]),
    st.integers(0, 999),
)  # fmt: skip
def test_equals_sdpa(
    b: int, sq: int, sk: int, kv: int, group: int, d: int, dv: int, kind: str, seed: int
) -> None:
    g, h = torch.Generator().manual_seed(seed), kv * group
    q, k, v = (torch.randn(b, s, n * w, generator=g) for s, n, w in ((sq, h, d), (sk, kv, d), (sk, kv, dv)))
    shape = {
        "keys": (b, 1, 1, sk),
        "full": (b, h, sq, sk),
        "added": (1, h, sq, sk),
        "lowest": (b, 1, sq, sk),
    }.get(kind)
    mask = torch.rand(shape, generator=g) > 0.4 if shape else None
    if mask is not None and kind == "added":
        mask = torch.randn(mask.shape, generator=g).masked_fill(~mask, float("-inf"))
    elif mask is not None and kind == "lowest":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    causal = kind == "causal"
    window = {"causal": (None, 0), "window": (1, 2)}.get(kind, (None, None))
    if kind == "window":
        distance = torch.arange(sk) - torch.arange(sq)[:, None]
        mask = (distance >= -1) & (distance <= 2)
    expected = F.scaled_dot_product_attention(
        split(q, h), split(k, kv), split(v, kv), mask, is_causal=causal, scale=0.3, enable_gqa=group > 1
    )
    actual = attention(q, k, v, None if kind == "window" else mask, h, 0.3, *window)
    torch.testing.assert_close(actual, expected.transpose(1, 2).flatten(2), rtol=1e-5, atol=1e-6)


def test_a_query_without_live_keys_gives_zero() -> None:
    x = torch.randn(1, 3, 4)
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    mask[0, 0, 1] = False
    result = attention(x, x, x, mask, 2, 1.0, None, None)
    assert torch.equal(result[0, 1], torch.zeros(4)) and result[0, 0].abs().min() > 0


def test_schema_and_fake() -> None:
    q, k, v = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 4)
    torch.library.opcheck(
        attention.default, (q, k, v, None, 2, 0.5, 2, 1), test_utils=("test_schema", "test_faketensor")
    )


def test_symbolic_sizes_stay_symbolic() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return attention(x, x, x, None, 2, 0.5, None, 0)

    dims = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(Model(), (torch.randn(2, 3, 8),), dynamic_shapes=dims)
    shape = next(n for n in exported.graph.nodes if n.op == "call_function").meta["val"].shape
    assert [isinstance(size, int) for size in shape] == [False, False, True]


@pytest.mark.parametrize(
    ("widths", "heads", "mask", "words"),
    [
        ((8, 8, 8), 3, None, "3 equal heads"),
        ((8, 6, 8), 2, None, "divisor of that number"),
        ((12, 8, 8), 3, None, "divisor of that number"),
        ((8, 8, 7), 2, None, "v in 2 equal heads"),
        ((8, 8, 8), 2, torch.zeros(2, dtype=torch.int64), "mask of bool or torch.float32"),
    ],
)
def test_refuses(widths: tuple[int, ...], heads: int, mask: Tensor | None, words: str) -> None:
    q, k, v = (torch.zeros(1, 2, width) for width in widths)
    with pytest.raises(InputError, match=words):
        attention(q, k, v, mask, heads, 1.0, None, None)
