"""l0compile::rope against the formula of transformers, its fake and its errors; packed, it is the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import l0compile.ir.ops  # noqa: F401  (registers the operator)
from l0compile.errors import InputError

l0 = torch.ops.l0compile


@settings(max_examples=20)
@given(
    b=st.integers(1, 3),
    s=st.integers(1, 5),
    heads=st.integers(1, 3),
    half=st.integers(1, 3),
    own=st.booleans(),
)
def test_formula(b: int, s: int, heads: int, half: int, own: bool) -> None:
    x = torch.randn(b, s, heads * 2 * half)
    cos, sin = torch.randn(2, b if own else 1, s, 2 * half).unbind()
    by_head = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    turned = torch.cat((-by_head[..., half:], by_head[..., :half]), -1)
    expected = (by_head * cos[:, None] + turned * sin[:, None]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(l0.rope(x, cos, sin, heads), expected)
    tables = [l0.pack(t.expand(b, -1, -1), 4) for t in (cos, sin)]
    packed = l0.packed_rope(l0.pack(x, 4), *tables, heads)
    torch.testing.assert_close(l0.unpack(packed, [b, s]), expected)


@settings(max_examples=20)
@given(
    b=st.integers(1, 3),
    s=st.integers(1, 5),
    heads=st.integers(1, 3),
    half=st.integers(1, 3),
    own=st.booleans(),
)
def test_interleaved_is_a_complex_product(b: int, s: int, heads: int, half: int, own: bool) -> None:
    x = torch.randn(b, s, heads * 2 * half)
    angles = torch.randn(b if own else 1, s, half, dtype=torch.complex64)
    product = torch.view_as_complex(x.unflatten(-1, (heads, half, 2))) * angles.unsqueeze(2)
    cos, sin = angles.real.contiguous(), angles.imag.contiguous()
    expected = torch.view_as_real(product).flatten(2)
    torch.testing.assert_close(l0.rope(x, cos, sin, heads, True), expected)
    tables = [l0.pack(t.expand(b, -1, -1), 4) for t in (cos, sin)]
    packed = l0.packed_rope(l0.pack(x, 4), *tables, heads, None, True)
    torch.testing.assert_close(l0.unpack(packed, [b, s]), expected)


def test_fake_and_refusals() -> None:
    x, table = torch.randn(2, 3, 8), torch.randn(1, 3, 4)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(l0.rope.default, (x, table, table, 2), test_utils=checks)
    packed = l0.pack(x, 4), l0.pack(table.expand(2, -1, -1), 4)
    torch.library.opcheck(l0.packed_rope.default, (*packed, packed[1], 2), test_utils=checks)
    half = torch.randn(1, 3, 2)
    torch.library.opcheck(l0.rope.default, (x, half, half, 2, True), test_utils=checks)
    with pytest.raises(InputError, match=r"cos and sin \[batch, tokens, 2\]"):
        l0.rope(x, table, table, 2, True)
    with pytest.raises(InputError, match="3 heads of even width"):
        l0.rope(x, table, table, 3)
    with pytest.raises(InputError, match=r"cos and sin \[batch, tokens, 8\]"):
        l0.rope(x, table, table, 1)
