"""Norms over part of a vector: ``compacted_layer_norm``, ``compacted_rms_norm`` and ``narrow_rms_norm``.

Channels of a normalised vector that are known constants need not be computed, but they still count in its mean and its
variance. These operators take the channels that are left [..., C] and the few numbers by which the norm depends on the
m = width - C others; they give the result of the whole vector at the channels that are left. With width == C and zeros
for the other numbers they are ordinary LayerNorm and RMSNorm.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import InputError


@torch.library.custom_op("l0compile::compacted_layer_norm", mutates_args=())
def compacted_layer_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    width: int,
    removed_mean: float,
    removed_m2: float,
) -> Tensor:
    """LayerNorm of a vector of ``width`` channels, at the C channels of it that ``x`` holds.

    mean = (sum(x) + m * removed_mean) / width,
    variance = (sum((x - mean)^2) + removed_m2 + m * (removed_mean - mean)^2) / width, with m = width - C.

    Args:
        x: [..., C], floating.
        weight, bias: [C] or None, of the channels that are left.
        eps: added to the variance.
        width: channels of the whole vector, at least C.
        removed_mean: mean of the removed channels (0 when there are none).
        removed_m2: sum of the squared deviations of the removed channels from ``removed_mean``.

    Returns:
        [..., C], dtype of ``x``, contiguous.

    Raises:
        InputError: ``width`` is less than C, or weight or bias is not of shape [C].
    """
    _check("compacted_layer_norm", x, width, weight, bias)
    return layer_norm_formula(x, weight, bias, eps, width, removed_mean, removed_m2).contiguous()


@compacted_layer_norm.register_fake
def _(x, weight, bias, eps, width, removed_mean, removed_m2):  # type: ignore[no-untyped-def]
    _check("compacted_layer_norm", x, width, weight, bias)
    return x.new_empty(x.shape)


@torch.library.custom_op("l0compile::compacted_rms_norm", mutates_args=())
def compacted_rms_norm(
    x: Tensor, weight: Tensor | None, eps: float, width: int, removed_square_sum: float
) -> Tensor:
    """RMSNorm of a vector of ``width`` channels, at the C channels of it that ``x`` holds.

    x * weight / sqrt((sum(x^2) + removed_square_sum) / width + eps).

    Args:
        x: [..., C], floating.
        weight: [C] or None, of the channels that are left.
        eps: added to the mean square.
        width: channels of the whole vector, at least C.
        removed_square_sum: sum of the squares of the removed channels (0 when there are none).

    Returns:
        [..., C], dtype of ``x``, contiguous.

    Raises:
        InputError: ``width`` is less than C, or the weight is not of shape [C].
    """
    _check("compacted_rms_norm", x, width, weight)
    return rms_norm_formula(x, weight, eps, width, removed_square_sum).contiguous()


@compacted_rms_norm.register_fake
def _(x, weight, eps, width, removed_square_sum):  # type: ignore[no-untyped-def]
    _check("compacted_rms_norm", x, width, weight)
    return x.new_empty(x.shape)


@torch.library.custom_op("l0compile::narrow_rms_norm", mutates_args=())
def narrow_rms_norm(
    x: Tensor, weight: Tensor | None, scale: Tensor | None, eps: float, width: int, removed_square_sum: float
) -> Tensor:
    """``compacted_rms_norm`` of float16 or bfloat16, computed in float32, as language models write it.

    scale * round(weight * x / sqrt(...)): rounded to the type of x before the last product, and after it.

    Args:
        x: [..., C], float16 or bfloat16.
        weight: [C] float32 or None.
        scale: [C] of the type of x, or None.
        eps, width, removed_square_sum: as of ``compacted_rms_norm``.

    Returns:
        [..., C], dtype of ``x``, contiguous.

    Raises:
        InputError: ``width`` is less than C, or weight or scale is not of shape [C].
    """
    _check("narrow_rms_norm", x, width, weight, scale)
    return narrow_rms_norm_formula(x, weight, scale, eps, width, removed_square_sum).contiguous()


@narrow_rms_norm.register_fake
def _(x, weight, scale, eps, width, removed_square_sum):  # type: ignore[no-untyped-def]
    _check("narrow_rms_norm", x, width, weight, scale)
    return x.new_empty(x.shape)


def _check(name: str, x: Tensor, width: int, *parameters: Tensor | None) -> None:
    channels = x.shape[-1] if x.ndim else 0
    if not x.ndim or width < channels or width < 1:
        raise InputError(
            f"l0compile::{name}: expected a width of at least the {channels} channels of x "
            f"{tuple(x.shape)}, got {width}"
        )
    for parameter in parameters:
        if parameter is not None and tuple(parameter.shape) != (channels,):
            raise InputError(
                f"l0compile::{name}: expected weight and bias of shape [{channels}] as x {tuple(x.shape)} has that "
                f"many channels, got {tuple(parameter.shape)}"
            )


def layer_norm_formula(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    width: int,
    removed_mean: float,
    removed_m2: float,
) -> Tensor:
    """:func:`compacted_layer_norm` in plain ATen operators."""
    removed = width - x.shape[-1]
    mean = (x.sum(-1, keepdim=True) + removed * removed_mean) / width
    centred = x - mean
    squares = centred.square().sum(-1, keepdim=True)
    if removed:
        squares = squares + (removed_m2 + removed * (removed_mean - mean).square())
    result = centred * torch.rsqrt(squares / width + eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def rms_norm_formula(
    x: Tensor, weight: Tensor | None, eps: float, width: int, removed_square_sum: float
) -> Tensor:
    """:func:`compacted_rms_norm` in plain ATen operators."""
    squares = x.square().sum(-1, keepdim=True) + removed_square_sum
    result = x * torch.rsqrt(squares / width + eps)
    return result if weight is None else result * weight


def narrow_rms_norm_formula(
    x: Tensor, weight: Tensor | None, scale: Tensor | None, eps: float, width: int, removed_square_sum: float
) -> Tensor:
    """:func:`narrow_rms_norm` in plain ATen operators."""
    result = rms_norm_formula(x.to(torch.float32), weight, eps, width, removed_square_sum).to(x.dtype)
    return result if scale is None else result * scale


# For consumers that know only ATen (PyTorch modules, ONNX): operator -> a function of the same arguments that traces to
# ATen, as ``ExportedProgram.run_decompositions`` and ``make_fx(decomposition_table=...)`` take it.
NORM_FORMULAS: dict[Any, Callable[..., Tensor]] = {
    torch.ops.l0compile.compacted_layer_norm.default: layer_norm_formula,
    torch.ops.l0compile.compacted_rms_norm.default: rms_norm_formula,
    torch.ops.l0compile.narrow_rms_norm.default: narrow_rms_norm_formula,
}
