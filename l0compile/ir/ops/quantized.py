"""Linear layers of 8-bit integers, each operator with the PyTorch implementation that is its oracle.

An activation x is held as unsigned integers q = round(x * inverse) + zero_point, for each feature with its own scale or
all with one; a weight as signed integers, each row with its own scale. What was exactly 0 stays exactly 0: q is then
``zero_point``. Sums are those of integers, so they do not depend on the order of adding; every engine gives the same.

Packed (see :mod:`l0compile.ir.ops.packed`), four features of a token lie side by side in a word of 32 bits: an
activation is [T, ceil(F / 4), L] int32, and a block of a weight is [ceil(cols / 4), rows] int32. What fills the last
word meets zero weights.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.results import LEVELS as LEVELS
from l0compile.ir.ops.results import in_words, in_words_like, rounded_to_levels
from l0compile.ir.ops.words import features_of, from_word_blocks, from_words, to_words

FEATURES = features_of(torch.int8)
"""Features of a word."""
# Whole numbers up to this one are exact in float32.
_EXACT = 2.0**24


@torch.library.custom_op("l0compile::quantize", mutates_args=())
def quantize(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    """clamp(round(x * inverse) + zero_point, 0, 255), ties to even.

    Args:
        x: [..., F] float32. NaN becomes 0.
        inverse: [F] or [1] float32, 1 / scale; for images [..., C, H, W] it is [C, 1, 1].
        zero_point: from 0 to 255; what x = 0 becomes.

    Returns:
        [..., F] uint8.
    """
    _check_zero_point(zero_point)
    return rounded_to_levels(x * inverse, zero_point)


@quantize.register_fake
def _(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    _check_zero_point(zero_point)
    return x.new_empty(x.shape, dtype=torch.uint8)


@torch.library.custom_op("l0compile::int8_linear", mutates_args=())
def int8_linear(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    zero_point: int,
    start: Tensor | None = None,
) -> Tensor:
    """((x - zero_point) Wᵀ + start) * scale + bias: a sum of integers, then one rounding of the result to float32.

    Args:
        x: [..., k] uint8.
        weight: [n, k] int8.
        scale: [n] float32: that of the activation times that of the row.
        bias: [n] float32 or None.
        zero_point: of x.
        start: [n] int32 that sums begin with, or None: what inputs add that are constant and were removed.

    Returns:
        [..., n] float32.

    Raises:
        InputError: x is not k wide.
    """
    _check_features(x, weight.shape[1])
    sums = _sums(x, weight, zero_point)
    return scaled(sums if start is None else sums.double() + start, scale, bias)


@int8_linear.register_fake
def _(  # type: ignore[no-untyped-def]
    x, weight, scale, bias, zero_point, start=None
):  # fmt: skip
    _check_features(x, weight.shape[1])
    return x.new_empty(*x.shape[:-1], weight.shape[0], dtype=torch.float32)


@torch.library.custom_op("l0compile::int8_bsr_linear", mutates_args=())
def int8_bsr_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor,
    indptr: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    zero_point: int,
    n: int,
    k: int,
    start: Tensor | None = None,
) -> Tensor:
    """``int8_linear`` with a weight that is held as its nonzero blocks.

    Args:
        x: [..., k] uint8.
        data: [nnz, cols / 4, rows] int32, the blocks in words, see :func:`l0compile.ir.ops.words.word_blocks`.
        indices, indptr: as :func:`l0compile.ir.ops.bsr.bsr_linear` has them.
        scale: [n] float32.
        bias: [n] float32 or None.
        zero_point: of x.
        n, k: shape of the weight.
        start: [n] int32 or None.
    """
    weight = from_word_blocks(data, indices, indptr, n, k, torch.int8)
    return int8_linear(x, weight, scale, bias, zero_point, start)


@int8_bsr_linear.register_fake
def _(x, data, indices, indptr, scale, bias, zero_point, n, k, start=None):  # type: ignore[no-untyped-def]
    _check_features(x, k)
    return x.new_empty(*x.shape[:-1], n, dtype=torch.float32)


@torch.library.custom_op("l0compile::packed_quantize", mutates_args=())
def packed_quantize(x: Tensor, inverse: Tensor, zero_point: int, tokens: int | None = None) -> Tensor:
    """``quantize`` of packed tokens: x [T, F, L] float32 -> words [T, ceil(F / 4), L] int32; inverse [F]."""
    return to_words(quantize(x.transpose(1, 2), inverse, zero_point)).transpose(1, 2).contiguous()


@packed_quantize.register_fake
def _(x: Tensor, inverse: Tensor, zero_point: int, tokens: int | None = None) -> Tensor:
    return x.new_empty(x.shape[0], -(-x.shape[1] // FEATURES), x.shape[2], dtype=torch.int32)


@torch.library.custom_op("l0compile::packed_int8_linear", mutates_args=())
def packed_int8_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor | None,
    indptr: Tensor | None,
    start: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    inverse: Tensor | None,
    n: int,
    activation: str,
    zero_point: int = 0,
    tokens: int | None = None,
    pairs: str = "",
    fits16: bool = False,
) -> Tensor:
    """activation((W x + start) * scale + bias) + residual on packed words: x [T, k / 4, L] int32 -> [T, n, L] float32.

    Or in words, see :mod:`l0compile.ir.ops.results`; without a residual then.

    W is held in blocks as for :func:`l0compile.ir.ops.packed.packed_linear`, with words for columns: data
    [nnz, cols / 4, rows] int32. ``start`` [n] int32 is what makes up for the zero point of x: -zero_point times the sum
    of each row. scale, bias: [n] float32. residual: [T, n, L] float32. Two blocks at one place add up.

    ``fits16``: for the first two weights of each word, and for the last two, 16 bits hold the sum of their products
    with any activations. It does not change the result.
    """
    words, rows = x.shape[1], data.shape[2]
    if indices is None or indptr is None:
        row_blocks = -(-n // rows)
        indices = torch.arange(words, dtype=torch.int32).repeat(row_blocks)
        indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * words
    weight = from_word_blocks(data, indices, indptr, n, words * FEATURES, torch.int8)
    numbers = from_words(x.transpose(1, 2), torch.uint8)
    sums = F.linear(numbers.double(), weight.double()) + start
    y = activate(scaled(sums, scale, bias), activation).transpose(1, 2).contiguous()
    y = y if residual is None else y + residual
    return in_words(y, inverse, zero_point, pairs)


@packed_int8_linear.register_fake
def _(  # type: ignore[no-untyped-def]
    x, data, indices, indptr, start, scale, bias, residual, inverse, n, activation, zero_point=0, tokens=None, pairs="",
    fits16=False,
):  # fmt: skip
    y = x.new_empty(x.shape[0], n, x.shape[2], dtype=torch.float32)
    return in_words_like(y, inverse, pairs)


def _sums(x: Tensor, weight: Tensor, zero_point: int) -> Tensor:
    """(x - zero_point) Wᵀ in whole numbers: exact in the type that holds them, whatever the order of adding."""
    factors = weight.float()
    largest = (
        max(zero_point, LEVELS - zero_point) * float(factors.abs().sum(1).amax()) if factors.numel() else 0.0
    )
    if largest <= _EXACT:
        return F.linear(x.float().sub_(zero_point), factors)
    return F.linear(x.double().sub_(zero_point), factors.double())


def scaled(sums: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """float32(sums * scale + bias) with a single rounding after that of the sum itself, as a fused multiply-add has."""
    product = sums.float().double().mul_(scale.double())
    return (product if bias is None else product.add_(bias.double())).float()


def _check_zero_point(zero_point: int) -> None:
    if not 0 <= zero_point <= LEVELS:
        raise InputError(f"l0compile::quantize: expected a zero point from 0 to {LEVELS}, got {zero_point}")


def _check_features(x: Tensor, k: int) -> None:
    if x.shape[-1] != k:
        raise InputError(f"l0compile::int8_linear: expected x of {k} features, got {tuple(x.shape)}")
