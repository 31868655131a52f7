"""Kernels that write words give those of their own float32 results, bit for bit, and of their oracles."""

from typing import Any

import pytest
import torch

from l0compile.errors import BuildError
from l0compile.ir.ops.results import extents, in_words
from l0compile.ir.ops.words import dense_word_blocks, from_words, word_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cpu.mask import MaskSpec
from l0compile.kernels.cpu.norm import NormSpec
from l0compile.kernels.cpu.word_form import FORMS, WordForm
from l0compile.kernels.token_tile import TokenTile

l0 = torch.ops.l0compile
INTEGERS = WordForm("int8", 90)
ALL = [INTEGERS, FORMS["pairs"], FORMS["token_pairs"]]
BY_FEATURES = ALL[:2]


def arguments(form: WordForm, features: int) -> tuple[torch.Tensor | None, int, str]:
    """``inverse``, ``zero_point`` and ``pairs`` of the operators."""
    if form.numbers == "int8":
        return 20 + 20 * torch.rand(features), form.zero_point, ""
    return None, 0, "tokens" if form.by_tokens else "features"


def numbers(words: torch.Tensor, form: WordForm, tokens: int) -> torch.Tensor:
    """[tokens, F] in float32; whatever a word holds of lanes past the last token is not compared."""
    if form.by_tokens:
        return from_words(words, torch.bfloat16).transpose(1, 2).flatten(0, 1)[:tokens].float()
    dtype = torch.uint8 if form.numbers == "int8" else torch.bfloat16
    return from_words(words.transpose(1, 2), dtype).flatten(0, 1)[:tokens].float()


def given(*values: Any) -> tuple[Any, ...]:
    return tuple(value for value in values if value is not None)


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
@pytest.mark.parametrize("block", [None, (4, 4), (8, 8)], ids=str)
@pytest.mark.parametrize(("m", "tail"), [(70, 6), (5, None)])
def test_linear(
    launch, tile: TokenTile, form: WordForm, kind: str, block: Any, m: int, tail: int | None
) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(m)
    n, k = 32, 24
    weight = torch.randint(-127, 128, (n, k)) * (torch.rand(n, k) < 0.5)
    weight[0, 0] = 1
    narrow = weight.to(torch.int8) if kind == "int8" else (weight / 50).bfloat16()
    data, indices, indptr = (
        word_blocks(narrow, *block) if block else (dense_word_blocks(narrow, tile.rows), None, None)
    )
    x, bias = l0.pack(torch.randn(m, k), tile.lanes), torch.randn(n)
    if kind == "int8":
        x = l0.packed_quantize(x, torch.full((k,), 40.0), 120)
        start, scale = (-120 * weight.sum(1)).to(torch.int32), torch.rand(n) * 1e-3
    else:
        x, start, scale = l0.packed_bfloat16(x), None, None
    operands = given(x, data, indices, indptr, start, scale, bias)
    sizes = (m,) if tail is None else ()
    rest = (n, x.shape[1], data.shape[2], data.shape[1], block is None, True, False, "gelu", tail, kind)
    plain = LinearSpec(*rest)
    y = launch(plain, (*operands, *sizes), (x.shape[0], n, tile.lanes))
    inverse, zero_point, pairs = arguments(form, n)
    shape = extents(tuple(y.shape), inverse is not None, pairs)
    inputs = (*operands, *given(inverse), *sizes)
    found = launch(LinearSpec(*rest, result=form), inputs, shape, None, torch.int32)
    assert torch.equal(numbers(found, form, m), numbers(in_words(y, inverse, zero_point, pairs), form, m))


@pytest.mark.parametrize("form", BY_FEATURES, ids=lambda form: form.name)
@pytest.mark.parametrize("numbers_", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(1, 70, 70), (5, 13, 13), (3, 16, 300)], ids=str)
def test_attention(
    launch, tile: TokenTile, form: WordForm, numbers_: Any, sizes: tuple[int, int, int]
) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    batch, queries, keys = sizes
    heads, dim, value = 2, 8, 12
    q, k, v = (l0.pack(torch.randn(b, w), tile.lanes) for b, w in (
        (batch * queries, heads * dim), (batch * keys, heads * dim), (batch * keys, heads * value),
    ))  # fmt: skip
    if numbers_ == "bfloat16":
        k, v = l0.packed_bfloat16(k), l0.packed_token_pairs(v)
    mask = torch.rand(batch, 1, 1, keys) < 0.8
    rest = (
        heads,
        heads,
        dim,
        value,
        0.3,
        None,
        None,
        MaskSpec((True, False, False, True), True),
        0,
        numbers_,
    )
    y = launch(AttentionSpec(*rest), (q, k, v, mask, *sizes), (q.shape[0], heads * value, tile.lanes))
    inverse, zero_point, pairs = arguments(form, heads * value)
    shape = extents(tuple(y.shape), inverse is not None, pairs)
    inputs = (q, k, v, mask, *given(inverse), *sizes)
    found = launch(AttentionSpec(*rest, result=form), inputs, shape, None, torch.int32)
    tokens = batch * queries
    wanted = in_words(
        y.nan_to_num(), inverse, zero_point, pairs
    )  # lanes past the last register were not written
    assert torch.equal(numbers(found, form, tokens), numbers(wanted, form, tokens))


@pytest.mark.parametrize("form", BY_FEATURES, ids=lambda form: form.name)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("m", "tail"), [(70, 6), (5, None)])
def test_norm(
    launch, tile: TokenTile, form: WordForm, centred: bool, both: bool, m: int, tail: int | None
) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    features = 20
    x, weight, bias = (
        l0.pack(torch.randn(m, features), tile.lanes),
        torch.rand(features),
        torch.randn(features),
    )
    operands, sizes = given(x, weight, bias if centred else None), (m,) if tail is None else ()
    rest = (features, 1e-5, centred, True, centred, features, 0.0, 0.0, tail)
    y = launch(NormSpec(*rest), (*operands, *sizes), tuple(x.shape))
    inverse, zero_point, pairs = arguments(form, features)
    again = torch.full_like(y, float("nan"))
    shape = extents(tuple(y.shape), inverse is not None, pairs)
    inputs = (*operands, *given(inverse), *sizes, *([again] if both else []))
    found = launch(NormSpec(*rest, form, both), inputs, shape, None, torch.int32)
    assert torch.equal(
        numbers(found, form, m), numbers(in_words(y.nan_to_num(), inverse, zero_point, pairs), form, m)
    )
    if both:
        assert torch.equal(l0.unpack(again, [m]), l0.unpack(y, [m]))


def test_words_that_features_do_not_fill(tile: TokenTile) -> None:
    with pytest.raises(BuildError, match="whole words of 4 features, got 6"):
        emit(AttentionSpec(2, 2, 8, 6, 0.3, result=INTEGERS), tile)
    with pytest.raises(BuildError, match="whole words of 4 features, got 6"):
        emit(NormSpec(6, 1e-5, True, True, True, 6, words=INTEGERS), tile)
