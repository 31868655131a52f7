"""What operators without a lowering of their own are made of: PyTorch's decompositions, and some of ours."""

from collections.abc import Callable
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils import _pytree as pytree

from l0compile.errors import RewriteError

aten = torch.ops.aten


def in_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with half-precision operands widened and its result rounded once, as PyTorch's kernels do it."""

    def widened(x: Any, *args: Any, **kwargs: Any) -> Any:
        if x.dtype not in (torch.bfloat16, torch.float16):
            return function(x, *args, **kwargs)

        def wide(value: Any) -> Any:
            is_half = isinstance(value, torch.Tensor) and value.dtype == x.dtype
            return value.to(torch.float32) if is_half else value

        result = function(wide(x), *map(wide, args), **{name: wide(value) for name, value in kwargs.items()})
        return pytree.tree_map(lambda value: value.to(x.dtype), result)

    return widened


@in_float32
def _attention(
    q: Any, k: Any, v: Any, mask: Any = None, dropout: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False, softcap: float = 0.0,
) -> Any:  # fmt: skip
    """softmax(q k' scale + mask) v, as the documentation of scaled_dot_product_attention defines it."""
    if dropout:
        raise RewriteError("attention with dropout has no decomposition")
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
        v = v.repeat_interleave(q.shape[-3] // v.shape[-3], -3)
    scores = torch.matmul(q, k.transpose(-2, -1)) * (scale if scale is not None else q.shape[-1] ** -0.5)
    if softcap:
        scores = torch.tanh(scores / softcap) * softcap
    if is_causal:
        rows = torch.arange(q.shape[-2])[:, None]
        mask = rows >= torch.arange(k.shape[-2])
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(torch.logical_not(mask), float("-inf"))
    elif mask is not None:
        scores = scores + mask
    return torch.matmul(torch.softmax(scores, -1), v)


@in_float32
def _group_norm(
    x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = True
) -> Any:
    parts = x.reshape(x.shape[0], groups, -1)
    centred = parts - parts.mean(-1, keepdim=True)
    scale = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)
    result = (centred * scale).reshape(x.shape)
    per_channel = (1, -1, *[1] * (x.ndim - 2))
    result = result if weight is None else result * weight.reshape(per_channel)
    return result if bias is None else result + bias.reshape(per_channel)


@in_float32
def _layer_norm(
    x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, _: bool = True
) -> Any:
    axes = list(range(-len(shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    result = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _rms_norm(x: Any, shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    return _scaled_by_rms(x, shape, weight, torch.finfo(x.dtype).eps if eps is None else eps)


@in_float32
def _scaled_by_rms(x: Any, shape: Any, weight: Any, eps: float) -> Any:
    result = x * torch.rsqrt((x * x).mean(list(range(-len(shape), 0)), keepdim=True) + eps)
    return result if weight is None else result * weight


@in_float32
def _variance(x: Any, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> tuple[Any, Any]:
    """(variance, mean) over ``dim``; correction 1 by default, as in torch."""
    axes = list(range(x.ndim)) if dim is None or not list(dim) else list(dim)
    mean = x.mean(axes, keepdim=True)
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    total = ((x - mean) * (x - mean)).sum(axes, keepdim=keepdim)
    if not isinstance(count, int) or count <= (1 if correction is None else correction):
        raise RewriteError("a variance over a symbolic or too small number of elements has no decomposition")
    variance = total / (count - (1 if correction is None else correction))
    return variance, mean if keepdim else mean.reshape(variance.shape)


def _biased(x: Any, dim: Any, unbiased: bool = True, keepdim: bool = False) -> tuple[Any, Any]:
    return _variance(x, dim, correction=int(unbiased), keepdim=keepdim)


def _difference(x: Any, n: int, dim: int, rest: tuple[Any, ...]) -> Any:
    if any(value is not None for value in rest) or n != 1:
        raise RewriteError("diff with prepended values, or of higher order, has no decomposition")
    size = x.shape[dim]
    return x.narrow(dim, 1, size - 1) - x.narrow(dim, 0, size - 1)


def _one_hot(x: Any, count: int) -> Any:
    if count <= 0:
        raise RewriteError("one_hot without a number of classes has no decomposition")
    return (x[..., None] == torch.arange(count)).to(torch.int64)


_BY_PYTORCH = (
    aten.elu.default, aten.glu.default, aten.hardswish.default, aten.hardsigmoid.default, aten.softplus.default,
    aten.mish.default, aten.celu.default, aten.selu.default, aten.softshrink.default, aten.hardshrink.default,
    aten.threshold.default, aten.log_sigmoid_forward.default, aten.addcmul.default, aten.addcdiv.default,
    aten.addmm.default, aten.baddbmm.default, aten.addmv.default, aten.native_layer_norm.default,
    aten.native_group_norm.default,
    aten.upsample_nearest1d.vec, aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec, aten.upsample_nearest2d.default, aten.upsample_bilinear2d.default,
    aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.lerp.Scalar, aten.lerp.Tensor,
    aten.logaddexp.default, aten.expm1.default, aten.sinc.default, aten.nan_to_num.default,
    aten.rot90.default, aten.linspace.default, aten.logsumexp.default,
)  # fmt: skip
DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    **{op: decomposition_table[op] for op in _BY_PYTORCH if op in decomposition_table},
    aten.scaled_dot_product_attention.default: _attention,
    torch.ops.l0compile.capped_attention.default: _attention,
    aten.group_norm.default: _group_norm,
    aten.var.correction: lambda x, dim=None, **options: _variance(x, dim, **options)[0],
    aten.var_mean.correction: _variance,
    aten.var.dim: lambda x, *rest: _biased(x, *rest)[0],
    aten.var_mean.dim: lambda x, *rest: _biased(x, *rest),
    aten.std.dim: lambda x, *rest: torch.sqrt(_biased(x, *rest)[0]),
    aten.std.correction: lambda x, dim=None, **options: torch.sqrt(_variance(x, dim, **options)[0]),
    aten.layer_norm.default: _layer_norm,
    aten.rms_norm.default: _rms_norm,
    aten.diff.default: lambda x, n=1, dim=-1, *rest: _difference(x, n, dim, rest),
    # exp(x) - 1 would lose the digits of small x.
    aten.expm1.default: lambda x: torch.tanh(x / 2) * (torch.exp(x) + 1),
    aten.softplus.default: lambda x, beta=1.0, limit=20.0: torch.where(
        x * beta > limit, x, torch.log1p(torch.exp(x * beta)) / beta
    ),
    aten.prelu.default: lambda x, w: torch.where(x > 0, x, x * w.reshape(1, -1, *[1] * (x.ndim - 2))),
    aten.einsum.default: lambda equation, operands, path=None: torch.einsum(equation, *operands),
    aten.one_hot.default: lambda x, count=-1: _one_hot(x, count),
}
"""Operator -> a function of the same arguments that computes it with others."""

HAVE_KERNELS = (
    aten.layer_norm.default, aten.rms_norm.default, aten.group_norm.default, aten.native_layer_norm.default,
    aten.native_group_norm.default, aten.scaled_dot_product_attention.default, aten.hardswish.default,
    torch.ops.l0compile.capped_attention.default,
)  # fmt: skip
"""Those that kernels in the packed layout may compute."""
