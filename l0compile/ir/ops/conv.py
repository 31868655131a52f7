"""``l0compile::bsr_conv2d``: a convolution whose weight is held as its nonzero blocks."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.ir.ops.bsr import from_blocks


@torch.library.custom_op("l0compile::bsr_conv2d", mutates_args=())
def bsr_conv2d(
    x: Tensor,
    data: Tensor,
    indices: Tensor,
    indptr: Tensor,
    bias: Tensor | None,
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """x [N, C, H, W] -> [N, n, H', W'] (or [N, C, L] -> [N, n, L']), weight of shape ``weight`` in blocks.

    The blocks are those of the weight as a matrix [n, C * kh * kw]: see ``bsr_linear`` for data, indices and indptr.
    Absent blocks do not propagate NaN or infinity.

    Args:
        weight: [n, C, kh, kw], or [n, C, k] for a one-dimensional convolution; one group.
        stride, padding, dilation: one entry per spatial dimension.
    """
    matrix = from_blocks(data, indices, indptr, weight[0], prod(weight[1:]))
    convolve = F.conv2d if len(weight) == 4 else F.conv1d
    return convolve(x, matrix.reshape(*weight), bias, stride, padding, dilation)


@bsr_conv2d.register_fake
def _(x, data, indices, indptr, bias, weight, stride, padding, dilation):  # type: ignore[no-untyped-def]
    sizes = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(x.shape[2:], weight[2:], stride, padding, dilation, strict=True)
    ]
    return x.new_empty(x.shape[0], weight[0], *sizes)
