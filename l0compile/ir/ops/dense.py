"""Dense layers together with what follows them; the runtime packs their constant weights for oneDNN."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.ir.ops.activation import activate

AFTER_SUM = ("", "relu")
"""The activations that oneDNN has for a convolution with a residual; without a residual it has all."""


@torch.library.custom_op("l0compile::dense_linear", mutates_args=())
def dense_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, rows: int, activation: str
) -> Tensor:
    """activation(x Wᵀ + bias) + residual; in PyTorch's engine with only one of activation and residual.

    Args:
        x: [..., k].
        weight: [n, k].
        bias: [n] or None.
        residual: [..., n] or None.
        rows: a likely number of rows of x, by which the weight is packed.
        activation: a name of :mod:`l0compile.ir.ops.activation`.
    """
    y = activate(F.linear(x, weight, bias), activation)
    return y if residual is None else y + residual


@dense_linear.register_fake
def _(x, weight, bias, residual, rows, activation):  # type: ignore[no-untyped-def]
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@torch.library.custom_op("l0compile::dense_convolution", mutates_args=())
def dense_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    example: Sequence[int],
    activation: str,
) -> Tensor:
    """activation(convolution(x, weight) + bias + residual).

    Args:
        x: [N, C, (H,) W].
        weight: [O, C / groups, (Kh,) Kw].
        bias: [O] or None.
        residual: of the shape of the result, or None.
        stride, padding, dilation: one entry for each dimension of positions.
        groups: as in PyTorch.
        example: a likely shape of x, by which the weight is packed.
        activation: a name of :mod:`l0compile.ir.ops.activation`; with a residual, one of ``AFTER_SUM``.
    """
    steps = list(stride), list(padding), list(dilation)
    y = torch.convolution(x, weight, bias, *steps, False, [0] * len(steps[0]), groups)
    return activate(y if residual is None else y + residual, activation).clone()


@dense_convolution.register_fake
def _(x, weight, bias, residual, stride, padding, dilation, groups, example, activation):  # type: ignore[no-untyped-def]
    steps = list(stride), list(padding), list(dilation)
    return torch.convolution(x, weight, bias, *steps, False, [0] * len(steps[0]), groups)
