"""Convolutions of 8-bit integers on images; :mod:`l0compile.ir.ops.quantized` says what the numbers stand for.

What lies around an image is an activation of 0, and thus ``zero_point``. As a matrix a weight [n, C, kh, kw] has the
columns (four channels, tap, channel of the four): a word of four channels, seen through one tap, is a column of words.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.quantized import FEATURES, scaled
from l0compile.ir.ops.words import from_word_blocks


def conv_matrix(weight: Tensor) -> Tensor:
    """[n, C, kh, kw] -> [n, ceil(C / 4) * kh * kw * 4]; zeros fill the last four channels."""
    n = weight.shape[0]
    taps = weight.flatten(2)
    padded = F.pad(taps, (0, 0, 0, -taps.shape[1] % FEATURES))
    return padded.reshape(n, -1, FEATURES, taps.shape[2]).transpose(2, 3).reshape(n, -1)


def from_conv_matrix(matrix: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight of ``shape`` [n, C, kh, kw] behind its matrix; inverse of :func:`conv_matrix`."""
    n, channels, height, width = shape
    parts = matrix.reshape(n, -1, height * width, FEATURES).transpose(2, 3)
    return parts.reshape(n, -1, height, width)[:, :channels].contiguous()


@torch.library.custom_op("l0compile::int8_conv2d", mutates_args=())
def int8_conv2d(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    zero_point: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """conv2d(x - zero_point, W) * scale + bias: the sum of integers, then one rounding of the result to float32.

    Args:
        x: [N, C, H, W] or [C, H, W] uint8.
        weight: [n, C / groups, kh, kw] int8.
        scale: [n] float32: that of the activation times that of the row.
        bias: [n] float32 or None.
        zero_point: of x.
        stride, padding, dilation: of both axes.
        groups: of channels, as ``conv2d`` has them.

    Returns:
        [N, n, H', W'], or without N, float32.

    Raises:
        InputError: x has not C channels.
    """
    _check_channels(x, weight.shape[1] * groups)
    # Whole numbers of this size are exact in float64, whatever the order of adding.
    sums = F.conv2d(x.double() - zero_point, weight.double(), None, stride, padding, dilation, groups)
    return scaled(sums, scale[:, None, None], None if bias is None else bias[:, None, None])


@int8_conv2d.register_fake
def _(x, weight, scale, bias, zero_point, stride, padding, dilation, groups=1):  # type: ignore[no-untyped-def]
    n, channels, *kernel = weight.shape
    return _empty_result(x, [n, channels * groups, *kernel], stride, padding, dilation)


@torch.library.custom_op("l0compile::int8_bsr_conv2d", mutates_args=())
def int8_bsr_conv2d(
    x: Tensor,
    data: Tensor,
    indices: Tensor,
    indptr: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    zero_point: int,
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """``int8_conv2d`` with a weight of shape ``weight`` whose matrix is held as its nonzero blocks.

    Args:
        data: [nnz, cols / 4, rows] int32, the blocks in words, see :func:`l0compile.ir.ops.words.word_blocks`.
        indices, indptr: as :func:`l0compile.ir.ops.bsr.bsr_linear` has them.
    """
    dense = dense_weight(data, indices, indptr, weight)
    return int8_conv2d(x, dense, scale, bias, zero_point, stride, padding, dilation)


@int8_bsr_conv2d.register_fake
def _(x, data, indices, indptr, scale, bias, zero_point, weight, stride, padding, dilation):  # type: ignore[no-untyped-def]
    return _empty_result(x, weight, stride, padding, dilation)


def without_groups(weight: Tensor, groups: int) -> Tensor:
    """The weight [n, C, kh, kw] that computes with one group what [n, C / groups, kh, kw] does: zeros elsewhere."""
    rows = len(weight) // groups
    parts = weight.reshape(groups, rows, *weight.shape[1:])
    result = weight.new_zeros(groups, rows, groups, *weight.shape[1:])
    result.diagonal(dim1=0, dim2=2).copy_(parts.movedim(0, -1))
    return result.reshape(len(weight), -1, *weight.shape[2:])


def dense_weight(data: Tensor, indices: Tensor, indptr: Tensor, shape: Sequence[int]) -> Tensor:
    """The weight of ``shape`` behind the blocks of its matrix."""
    n, channels, height, width = shape
    columns = -(-channels // FEATURES) * height * width * FEATURES
    return from_conv_matrix(from_word_blocks(data, indices, indptr, n, columns, torch.int8), shape)


def _empty_result(x, weight, stride, padding, dilation):  # type: ignore[no-untyped-def]
    _check_channels(x, weight[1])
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[-2:], weight[2:], stride, padding, dilation, strict=True)
    ]
    return x.new_empty(*x.shape[:-3], weight[0], *sizes, dtype=torch.float32)


def _check_channels(x: Tensor, channels: int) -> None:
    if x.ndim not in (3, 4) or x.shape[-3] != channels:
        raise InputError(
            f"l0compile::int8_conv2d: expected x [N, {channels}, H, W] or without N, got {tuple(x.shape)}"
        )
