"""Narrow numbers side by side in words of 32 bits: four 8-bit integers, or two bfloat16 numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.ir.ops.bsr import added_blocks, dense_blocks, nonzero_blocks, to_blocks

_BYTES = 4


def features_of(dtype: torch.dtype) -> int:
    """Numbers of a word."""
    return _BYTES // dtype.itemsize


def to_words(numbers: Tensor) -> Tensor:
    """[..., F] -> [..., ceil(F / numbers of a word)] int32; zeros fill the last word."""
    padded = F.pad(numbers, (0, -numbers.shape[-1] % features_of(numbers.dtype)))
    return padded.clone(memory_format=torch.contiguous_format).view(torch.int32)


def from_words(words: Tensor, dtype: torch.dtype) -> Tensor:
    """[..., W] int32 -> [..., W * numbers of a word] of ``dtype``."""
    return words.clone(memory_format=torch.contiguous_format).view(dtype)


def word_blocks(weight: Tensor, rows: int, cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """The nonzero blocks of a weight [n, k], in words: (data, indices, indptr), data [nnz, words, rows] int32.

    ``cols`` is a multiple of the numbers of a word. Of a weight that is all zero the first block is stored: kernels
    take no empty tensors.
    """
    words, width = to_words(weight), cols // features_of(weight.dtype)
    live = nonzero_blocks(words, rows, width)
    if not live.any():
        live[:1, :1] = True
    return to_blocks(words, rows, width, live)


def dense_word_blocks(weight: Tensor, rows: int) -> Tensor:
    """All blocks of ``rows`` x one word of a weight [n, k]: [ceil(n / rows) * words of a row, 1, rows] int32."""
    return dense_blocks(to_words(weight), rows)


def from_word_blocks(
    data: Tensor, indices: Tensor, indptr: Tensor, n: int, k: int, dtype: torch.dtype
) -> Tensor:
    """The weight [n, k] behind ``(data, indices, indptr)``, where blocks at one place add up.

    Inverse of :func:`word_blocks`.
    """
    numbers = from_words(data.transpose(1, 2), dtype).transpose(1, 2)
    return added_blocks(numbers, indices, indptr, n, k)
