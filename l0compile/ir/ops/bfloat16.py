"""Products of bfloat16 numbers, added in float32; each operator with the PyTorch implementation that is its oracle.

Operands are rounded to bfloat16 where they are multiplied (8 significant bits, ties to even); a product of two such
numbers is exact in float32, sums and all else are float32. So an engine may differ from the oracle by the order of
adding alone: by at most k * 2^-23 times the sum of the absolute products for k of them, and in what it makes of numbers
below 2^-126, which instructions for bfloat16 take as 0.

Packed (see :mod:`l0compile.ir.ops.packed`), two features of a token lie side by side in a word of 32 bits: values are
[T, ceil(F / 2), L] int32, a block of a weight is [ceil(cols / 2), rows] int32. Zero fills the last word.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import bsr_linear
from l0compile.ir.ops.results import in_words, in_words_like
from l0compile.ir.ops.words import features_of, from_word_blocks, from_words, to_words

FEATURES = features_of(torch.bfloat16)
"""Features of a word."""


@torch.library.custom_op("l0compile::bfloat16_linear", mutates_args=())
def bfloat16_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + bias with both operands of the product in bfloat16.

    Args:
        x: [..., k] float32, rounded here.
        weight: [n, k] bfloat16.
        bias: [n] float32 or None.

    Returns:
        [..., n] float32.

    Raises:
        InputError: x is not k wide.
    """
    _check(x, weight.shape[1])
    return F.linear(rounded(x), weight.float(), bias)


@bfloat16_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    _check(x, weight.shape[1])
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("l0compile::bfloat16_bsr_linear", mutates_args=())
def bfloat16_bsr_linear(
    x: Tensor, data: Tensor, indices: Tensor, indptr: Tensor, bias: Tensor | None, n: int, k: int
) -> Tensor:
    """``bfloat16_linear`` with a weight that is held as its nonzero blocks.

    Args:
        x: [..., k] float32.
        data: [nnz, cols / 2, rows] int32, the blocks in words, see :func:`l0compile.ir.ops.words.word_blocks`.
        indices, indptr: as :func:`l0compile.ir.ops.bsr.bsr_linear` has them.
        bias: [n] float32 or None.
        n, k: shape of the weight.
    """
    return bfloat16_linear(x, from_word_blocks(data, indices, indptr, n, k, torch.bfloat16), bias)


@bfloat16_bsr_linear.register_fake
def _(x, data, indices, indptr, bias, n, k):  # type: ignore[no-untyped-def]
    _check(x, k)
    return x.new_empty(*x.shape[:-1], n)


@torch.library.custom_op("l0compile::packed_bfloat16", mutates_args=())
def packed_bfloat16(x: Tensor, tokens: int | None = None) -> Tensor:
    """Packed tokens in words of two features: x [T, F, L] float32 -> [T, ceil(F / 2), L] int32."""
    return to_words(x.transpose(1, 2).to(torch.bfloat16)).transpose(1, 2).contiguous()


@packed_bfloat16.register_fake
def _(x: Tensor, tokens: int | None = None) -> Tensor:
    return x.new_empty(x.shape[0], -(-x.shape[1] // FEATURES), x.shape[2], dtype=torch.int32)


@torch.library.custom_op("l0compile::packed_token_pairs", mutates_args=())
def packed_token_pairs(x: Tensor, tokens: int | None = None) -> Tensor:
    """Packed tokens in words of two tokens: x [T, F, L] float32 -> [T, F, L / 2] int32."""
    return to_words(x.to(torch.bfloat16))


@packed_token_pairs.register_fake
def _(x: Tensor, tokens: int | None = None) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[2] // FEATURES, dtype=torch.int32)


@torch.library.custom_op("l0compile::packed_bfloat16_linear", mutates_args=())
def packed_bfloat16_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor | None,
    indptr: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    activation: str,
    tokens: int | None = None,
    inverse: Tensor | None = None,
    zero_point: int = 0,
    pairs: str = "",
) -> Tensor:
    """``l0compile::packed_linear`` of words: x [T, k / 2, L] int32, data [nnz, cols / 2, rows] int32 -> [T, n, L].

    Or in words, see :mod:`l0compile.ir.ops.results`; without a residual then.
    """
    words, rows = x.shape[1], data.shape[2]
    if indices is None or indptr is None:
        row_blocks = -(-n // rows)
        indices = torch.arange(words, dtype=torch.int32).repeat(row_blocks)
        indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * words
    numbers = from_words(x.transpose(1, 2), torch.bfloat16).float()
    blocks = from_words(data.transpose(1, 2), torch.bfloat16).transpose(1, 2).float()
    y = activate(bsr_linear(numbers, blocks, indices, indptr, bias, n, words * FEATURES), activation)
    y = y.transpose(1, 2).contiguous()
    return in_words(y if residual is None else y + residual, inverse, zero_point, pairs)


@packed_bfloat16_linear.register_fake
def _(  # type: ignore[no-untyped-def]
    x, data, indices, indptr, bias, residual, n, activation, tokens=None, inverse=None, zero_point=0, pairs=""
):  # fmt: skip
    return in_words_like(x.new_empty(x.shape[0], n, x.shape[2], dtype=torch.float32), inverse, pairs)


def rounded(x: Tensor) -> Tensor:
    """Float32 numbers that are in bfloat16."""
    return x.to(torch.bfloat16).to(torch.float32)


@torch.library.custom_op("l0compile::round_bfloat16", mutates_args=())
def round_bfloat16(x: Tensor) -> Tensor:
    """x rounded to bfloat16, ties to even, and held in float32: any shape, float32 -> the same.

    A value of a bfloat16 model, where it is computed in float32: whatever gives bfloat16 ends with this.
    """
    return rounded(x)


@round_bfloat16.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def _check(x: Tensor, k: int) -> None:
    if x.shape[-1] != k:
        raise InputError(f"l0compile::bfloat16_linear: expected x of {k} features, got {tuple(x.shape)}")
