"""Which kernel computes a packed operator of the graph, and with which arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.ir.ops.attention import key_heads
from l0compile.ir.ops.planes import Planes
from l0compile.kernels.spec import (
    AttentionSpec,
    ConvSpec,
    CopySpec,
    KernelSpec,
    LinearSpec,
    MaskSpec,
    NormSpec,
    PackSpec,
    RopeSpec,
    Tail,
    WindowSpec,
    WinogradPlanesSpec,
    WinogradSpec,
)

l0 = torch.ops.l0compile


@dataclass(frozen=True)
class KernelCall:
    """One kernel launch: tensor operands, then scalar sizes.

    mask: the operand that is an attention mask; the kernel takes it with all four axes.
    rows_in, rows_out: the operand, or the result, is [..., features] in the graph and [tokens, features] in the kernel.
    """

    spec: KernelSpec
    tensors: tuple[fx.Node, ...]
    sizes: tuple[Any, ...] = ()
    mask: fx.Node | None = None
    rows_in: bool = False
    rows_out: bool = False


def kernel_call(node: fx.Node) -> KernelCall | None:
    """The kernel for ``node``, or None when the operator is an ordinary one."""
    make = _CALLS.get(node.target)
    return make(node) if make else None


def _pack(node: fx.Node) -> KernelCall:
    return KernelCall(
        PackSpec(int(node.args[0].meta["val"].shape[-1]), unpack=False), (node.args[0],), rows_in=True
    )


def _unpack(node: fx.Node) -> KernelCall:
    return KernelCall(PackSpec(int(node.meta["val"].shape[-1]), unpack=True), (node.args[0],), rows_out=True)


def _tail(x: fx.Node, tokens: Any = None) -> tuple[Tail, tuple[fx.Node, ...]]:
    """What is known of the last tile of a packed tensor, and the sizes that a kernel needs for the rest."""
    if isinstance(tokens, fx.Node):
        return None, (tokens,)
    return (0 if tokens is None else tokens % int(x.meta["val"].shape[2])), ()


def _linear(node: fx.Node) -> KernelCall:
    x, data, indices, indptr, bias, residual, n, activation, *given = node.args
    _, cols, rows = data.meta["val"].shape
    tail, sizes = _tail(x, *given)
    spec = LinearSpec(
        n=n, k=int(x.meta["val"].shape[1]), rows=int(rows), cols=int(cols), dense=indices is None,
        bias=bias is not None, residual=residual is not None, activation=activation, tail=tail,
    )  # fmt: skip
    operands = tuple(t for t in (x, data, indices, indptr, bias, residual) if t is not None)
    return KernelCall(spec, operands, sizes)


def _attention(node: fx.Node) -> KernelCall:
    q, k, v, mask, bias, batch, queries, keys, heads, scale, causal = node.args
    widths = [int(t.meta["val"].shape[1]) for t in (q, k, v)]
    kv_heads = key_heads(widths[0], widths[1], heads)
    spec = AttentionSpec(
        heads, kv_heads, widths[0] // heads, widths[2] // kv_heads, scale, causal,
        None if mask is None else mask_spec(mask), 0 if bias is None else int(bias.meta["val"].shape[0]),
    )  # fmt: skip
    tensors = tuple(t for t in (q, k, v, mask, bias) if t is not None)
    return KernelCall(spec, tensors, (batch, queries, keys), mask=mask)


def _pack_mask(node: fx.Node) -> KernelCall:
    mask, batch, queries, keys, _ = node.args
    return KernelCall(mask_spec(mask), (mask,), (batch, queries, keys), mask=mask)


def mask_spec(mask: fx.Node) -> MaskSpec:
    """Which axes of an attention mask broadcast: a size that is exactly 1 does, and so does an axis it lacks."""
    value = mask.meta["val"]
    first, second, third, fourth = (
        not (isinstance(size, int) and size == 1) for size in [1] * (4 - value.ndim) + list(value.shape)
    )
    return MaskSpec((first, second, third, fourth), value.dtype == torch.bool)


def _layer_norm(node: fx.Node) -> KernelCall:
    x, weight, bias, eps, width, removed_mean, removed_m2, *tokens = node.args
    tail, sizes = _tail(x, *tokens)
    features, given = int(x.meta["val"].shape[1]), (weight is not None, bias is not None)
    spec = NormSpec(features, eps, True, *given, width, removed_mean, removed_m2, tail)
    return KernelCall(spec, tuple(t for t in (x, weight, bias) if t is not None), sizes)


def _rms_norm(node: fx.Node) -> KernelCall:
    x, weight, eps, width, squares, *tokens = node.args
    tail, sizes = _tail(x, *tokens)
    features = int(x.meta["val"].shape[1])
    spec = NormSpec(features, eps, False, weight is not None, False, width, 0.0, squares, tail)
    return KernelCall(spec, tuple(t for t in (x, weight) if t is not None), sizes)


def _copy_planes(node: fx.Node) -> KernelCall:
    x, source, result, step, phases, *lowest = node.args
    starts = tuple(zip(phases[::2], phases[1::2], strict=True))
    spec = CopySpec(
        int(x.meta["val"].shape[1]), Planes(*source), Planes(*result), tuple(step), starts, *lowest
    )
    return KernelCall(spec, (x,))


def _conv(node: fx.Node) -> KernelCall:
    x, data, offsets, indptr, bias, residual, n, result, activation, *slope = node.args
    _, channels, size = x.meta["val"].shape
    spec = ConvSpec(
        n=n, columns=0 if indptr is not None else int(offsets.meta["val"].shape[0]),
        rows=int(data.meta["val"].shape[2]), channels=int(channels), size=int(size), result=Planes(*result),
        dense=indptr is None, bias=bias is not None, residual=residual is not None, activation=activation,
    )  # fmt: skip
    operands = (x, data, offsets, indptr, bias, residual, *slope)
    return KernelCall(spec, tuple(t for t in operands if t is not None))


def _window(node: fx.Node) -> KernelCall:
    x, weight, bias, channels, offsets, result, activation = node.args
    _, planes, size = x.meta["val"].shape
    spec = WindowSpec(
        channels, int(planes), int(size), Planes(*result), tuple(offsets),
        weight=weight is not None, bias=bias is not None, activation=activation,
    )  # fmt: skip
    return KernelCall(spec, tuple(t for t in (x, weight, bias) if t is not None))


def _winograd_planes(node: fx.Node) -> KernelCall:
    x, source, result, m = node.args
    return KernelCall(
        WinogradPlanesSpec(int(x.meta["val"].shape[1]), Planes(*source), Planes(*result), m), (x,)
    )


def _winograd(node: fx.Node) -> KernelCall:
    x, data, offsets, bias, residual, n, source, result, m, activation, *slope = node.args
    spec = WinogradSpec(
        n=n, columns=int(offsets.meta["val"].shape[0]), rows=int(data.meta["val"].shape[2]),
        channels=int(x.meta["val"].shape[1]) // (m + 2), source=Planes(*source), result=Planes(*result), m=m,
        bias=bias is not None, residual=residual is not None, activation=activation,
    )  # fmt: skip
    return KernelCall(spec, tuple(t for t in (x, data, offsets, bias, residual, *slope) if t is not None))


def _rope(node: fx.Node) -> KernelCall:
    x, cos, sin, heads, tokens, interleaved = (*node.args, None, False)[:6]
    tail, sizes = _tail(x, tokens)
    dim = int(x.meta["val"].shape[1]) // heads
    return KernelCall(RopeSpec(heads, dim, tail, interleaved), (x, cos, sin), sizes)


_CALLS: dict[Any, Callable[[fx.Node], KernelCall]] = {
    l0.pack.default: _pack,
    l0.unpack.default: _unpack,
    l0.packed_linear.default: _linear,
    l0.packed_attention.default: _attention,
    l0.pack_mask.default: _pack_mask,
    l0.packed_layer_norm.default: _layer_norm,
    l0.packed_rms_norm.default: _rms_norm,
    l0.packed_rope.default: _rope,
    l0.copy_planes.default: _copy_planes,
    l0.packed_conv2d.default: _conv,
    l0.packed_window.default: _window,
    l0.winograd_planes.default: _winograd_planes,
    l0.packed_winograd.default: _winograd,
}
