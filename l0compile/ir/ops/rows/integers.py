"""Linear layers of 8-bit integers on rows of words; :mod:`l0compile.ir.ops.quantized` says what the numbers stand for.

A word holds four neighbouring features of a token, so that an activation is [..., ceil(F / 4)] int32. What fills the
last word meets zero weights. A chunk is four words: 16 bytes, which tensor cores take at once.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import from_blocks
from l0compile.ir.ops.quantized import FEATURES, LEVELS, quantize, scaled
from l0compile.ir.ops.words import from_words, to_words

WORDS = 4
"""Words of a chunk."""
LARGEST_SUM = 2**31 - 1
"""What sums of products are held in."""


@torch.library.custom_op("l0compile::rows_quantize", mutates_args=())
def rows_quantize(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    """``l0compile::quantize`` in words: x [..., F] float32, inverse [F] float32 -> [..., ceil(F / 4)] int32."""
    return to_words(quantize(x, inverse, zero_point))


@rows_quantize.register_fake
def _(x: Tensor, inverse: Tensor, zero_point: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], -(-x.shape[-1] // FEATURES), dtype=torch.int32)


@torch.library.custom_op("l0compile::rows_int8_linear", mutates_args=())
def rows_int8_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor | None,
    indptr: Tensor | None,
    order: Tensor | None,
    start: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    inverse: Tensor | None,
    n: int,
    rows: int,
    activation: str,
    zero_point: int = 0,
) -> Tensor:
    """y = activation((W x + start) * scale + bias) + residual; with ``inverse`` its result is rows_quantize(y).

    Args:
        x: [..., k] int32, words.
        data: W [n, k] int32 in words, or its blocks [nnz, chunks, rows of a block, 4], see :func:`chunk_blocks`.
        indices, indptr: of the blocks, as :func:`l0compile.ir.ops.bsr.bsr_linear` has them; None: W is dense.
        order: int32 [block rows], in which order GPUs begin them; it does not change the result.
        start: [n] int32, what makes up for the zero point of x: see :func:`row_starts`.
        scale: [n] float32: that of the activation times that of the row.
        bias: [n] float32 or None.
        residual: [..., n] float32 or None.
        inverse: [n] float32, 1 / scale of each result, to round it; n is then a multiple of four. None: float32.
        n: rows of the weight.
        rows: a likely number of rows of x.
        activation: a name of :mod:`l0compile.ir.ops.activation`.
        zero_point: of the result, with ``inverse``.
    """
    _check(n, inverse)
    weight = _weight(data, indices, indptr, n, x.shape[-1])
    numbers = from_words(x, torch.uint8).double()
    sums = F.linear(numbers, from_words(weight, torch.int8).double()) + start
    y = activate(scaled(sums, scale, bias), activation)
    y = y if residual is None else y + residual
    return y if inverse is None else rows_quantize(y, inverse, zero_point)


@rows_int8_linear.register_fake
def _(  # type: ignore[no-untyped-def]
    x, data, indices, indptr, order, start, scale, bias, residual, inverse, n, rows, activation, zero_point=0
):  # fmt: skip
    _check(n, inverse)
    if inverse is not None:
        return x.new_empty(*x.shape[:-1], n // FEATURES)
    return x.new_empty(*x.shape[:-1], n, dtype=torch.float32)


def chunk_blocks(data: Tensor) -> Tensor:
    """Blocks in words [nnz, cols / 4, rows] as blocks in chunks [nnz, cols / 16, rows, 4]; cols: a multiple of 16."""
    nnz, words, rows = data.shape
    return data.reshape(nnz, words // WORDS, WORDS, rows).transpose(2, 3).contiguous()


def row_starts(weight: Tensor, zero_point: int, more: Tensor | None = None) -> Tensor | None:
    """-zero_point times the sum of each row of W [n, k] int8, and ``more`` [n] int32 on top: [n] int32.

    None where 32 bits may not hold a sum, or a part of one, of some activations.
    """
    wide = weight.long()
    own = torch.zeros(len(wide), dtype=torch.int64) if more is None else more.long()
    largest = LEVELS * wide.abs().sum(1) + own.abs()
    if len(wide) and int(largest.amax()) > LARGEST_SUM:
        return None
    return (own - zero_point * wide.sum(1)).to(torch.int32)


def _weight(data: Tensor, indices: Tensor | None, indptr: Tensor | None, n: int, words: int) -> Tensor:
    """W [n, words] int32."""
    if indices is None or indptr is None:
        return data
    blocks = data.transpose(2, 3).flatten(1, 2)
    return from_blocks(blocks, indices, indptr, n, words).contiguous()


def _check(n: int, inverse: Tensor | None) -> None:
    if inverse is not None and n % FEATURES:
        raise InputError(f"l0compile::rows_int8_linear: expected results in whole words of four, got {n}")
