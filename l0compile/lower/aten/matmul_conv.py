"""Matrix products and convolutions that have no kernel of ours."""

from typing import Any

import torch
from torch import fx

from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten.lowering import Lowering, accumulator, broadcast_index, cast, dtype_name, long

aten = torch.ops.aten


def _matmul(node: fx.Node, low: Lowering) -> Any:
    left, right = node.args[:2]
    return _product(node, low, left, right)


def _product(node: fx.Node, low: Lowering, left: Any, right: Any, transposed: bool = False) -> Any:
    """Multiply ``left @ right``, or ``left @ right.T``, by torch's rules for ranks 1 and more."""
    a_shape, b_shape = left.meta["val"].shape, right.meta["val"].shape
    shape, total = long(low.shape(node)), accumulator(node)
    dtype, result = dtype_name(node.meta["val"].dtype), node.meta["val"].shape
    rows, columns = len(a_shape) > 1, len(b_shape) > 1
    batch = result[: len(result) - rows - columns]

    def function(a: Any, b: Any) -> Any:
        k = te.reduce_axis((0, a.shape[-1]), name="k")

        def element(*i: Any) -> Any:
            lead = i[: len(batch)]
            row = (i[len(batch)],) if rows else ()
            column = (i[-1],) if columns else ()
            at_a = (*broadcast_index(a_shape[:-2], batch, lead, node.name), *row, k)
            last = (*column, k) if transposed else (k, *column)
            at_b = (*broadcast_index(b_shape[:-2], batch, lead, node.name), *last)
            return te.sum(cast(a(*at_a), total) * cast(b(*at_b), total), axis=k)

        product = te.compute(shape, element, name="matmul")
        if total == dtype:
            return product
        return te.compute(shape, lambda *i: cast(product(*i), dtype), name="cast")

    return low.emit(function, left, right, name="matmul")


def _linear(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    product = _product(node, low, given["input"], given["weight"], transposed=True)
    if given["bias"] is None:
        return product

    def add(y: Any, b: Any) -> Any:
        return te.compute(y.shape, lambda *i: y(*i) + b(i[-1]), name="bias")

    return low.emit_values(add, product, low.value(given["bias"]), name="bias")


def _convolution(node: fx.Node, low: Lowering) -> Any:
    """Convert a convolution with any number of spatial axes.

    y[n, o, p] = b[o] + sum over c, k of x[n, c, p s + k d - pad] w[o, c, k].
    """
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    space = weight.meta["val"].ndim - 2
    stride, dilation = per_axis(given["stride"], space), per_axis(given["dilation"], space)
    groups, total = given["groups"], accumulator(node)
    shape, dtype = long(low.shape(node)), dtype_name(node.meta["val"].dtype)
    # Without a batch axis, the first axis is that of the channels.
    lead = x.meta["val"].ndim - space - 1
    outputs, inputs, *window = weight.meta["val"].shape
    padded = _padded(low, x, given["padding"], window, dilation, space)

    def function(x: Any, w: Any, *bias: Any) -> Any:
        c = te.reduce_axis((0, inputs), name="c")
        k = [te.reduce_axis((0, size), name=f"k{d}") for d, size in enumerate(window)]

        def element(*i: Any) -> Any:
            o, place = i[lead], i[lead + 1 :]
            channel = tirx.floordiv(o, outputs // groups) * inputs + c if groups > 1 else c
            at = [p * s + kk * d for p, s, kk, d in zip(place, stride, k, dilation, strict=True)]
            return te.sum(cast(x(*i[:lead], channel, *at), total) * cast(w(o, c, *k), total), axis=[c, *k])

        sums = te.compute(shape, element, name="convolution")
        return _biased(sums, bias, lead, total, dtype)

    rest = [low.value(given["bias"])] if given["bias"] is not None else []
    return low.emit_values(function, padded, low.value(weight), *rest, name="convolution")


def _biased(sums: Any, bias: tuple[Any, ...], axis: int, total: str, dtype: str) -> Any:
    """Add the bias of each channel, if there is one, to sums in dtype ``total``, and convert them to ``dtype``."""
    if not bias and total == dtype:
        return sums

    def element(*i: Any) -> Any:
        return cast(sums(*i) + cast(bias[0](i[axis]), total) if bias else sums(*i), dtype)

    return te.compute(sums.shape, element, name="bias")


def _padded(
    low: Lowering, x: fx.Node, padding: Any, window: list[int], dilation: list[int], space: int
) -> Any:
    """Surround the input with its border of zeros."""
    if isinstance(padding, str):
        totals = [d * (k - 1) if padding == "same" else 0 for k, d in zip(window, dilation, strict=True)]
        before, after = [t // 2 for t in totals], [t - t // 2 for t in totals]
    else:
        before = after = per_axis(padding, space)
    if not any(before) and not any(after):
        return low.value(x)
    rank = x.meta["val"].ndim
    sizes = long(low.shape(x))
    first = rank - space
    shape = (*sizes[:first], *(sizes[first + d] + before[d] + after[d] for d in range(space)))

    def pad(x: Any) -> Any:
        def element(*i: Any) -> Any:
            at = [value - before[d] for d, value in enumerate(i[first:])]
            inside = [
                tirx.all(a >= 0, a < sizes[first + d]) for d, a in enumerate(at) if before[d] or after[d]
            ]
            return tirx.if_then_else(tirx.all(*inside), x(*i[:first], *at), cast(0, dtype_name(value_dtype)))

        return te.compute(shape, element, name="pad")

    value_dtype = x.meta["val"].dtype
    return low.emit(pad, x, name="pad")


def _transposed_convolution(node: fx.Node, low: Lowering) -> Any:
    """Convert a transposed convolution.

    y[n, o, p] = b[o] + sum over c, k of x[n, c, q] w[c, o, k], for q = (p + pad - k d) / s if that is an integer.
    """
    given = arguments(node)
    x, weight = given["input"], given["weight"]
    space = weight.meta["val"].ndim - 2
    stride, dilation = per_axis(given["stride"], space), per_axis(given["dilation"], space)
    padding, groups, total = per_axis(given["padding"], space), given["groups"], accumulator(node)
    shape, dtype = long(low.shape(node)), dtype_name(node.meta["val"].dtype)
    lead = x.meta["val"].ndim - space - 1
    inputs, outputs, *window = weight.meta["val"].shape
    sizes = long(low.shape(x))[lead + 1 :]

    def function(x: Any, w: Any, *bias: Any) -> Any:
        c = te.reduce_axis((0, inputs // groups), name="c")
        k = [te.reduce_axis((0, size), name=f"k{d}") for d, size in enumerate(window)]

        def element(*i: Any) -> Any:
            o, place = i[lead], i[lead + 1 :]
            channel = tirx.floordiv(o, outputs) * (inputs // groups) + c if groups > 1 else c
            spread_out = [p + pad - kk * d for p, pad, kk, d in zip(place, padding, k, dilation, strict=True)]
            at = [tirx.floordiv(value, s) for value, s in zip(spread_out, stride, strict=True)]
            real = [
                tirx.EQ(tirx.floormod(value, s), tirx.const(0, "int64"))
                for value, s in zip(spread_out, stride, strict=True)
                if s > 1
            ]
            real += [tirx.all(a >= 0, a < size) for a, size in zip(at, sizes, strict=True)]
            term = cast(x(*i[:lead], channel, *at), total) * cast(
                w(channel, tirx.floormod(o, outputs), *k), total
            )
            return te.sum(tirx.if_then_else(tirx.all(*real), term, cast(0, total)), axis=[c, *k])

        sums = te.compute(shape, element, name="convolution")
        return _biased(sums, bias, lead, total, dtype)

    operands = [x, weight, *([given["bias"]] if given["bias"] is not None else [])]
    return low.emit(function, *operands, name="convolution")


def per_axis(value: Any, count: int) -> list[int]:
    """List one number for each spatial axis; torch lets a single number stand for all of them."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def _general(node: fx.Node, low: Lowering) -> Any:
    return (_transposed_convolution if arguments(node)["transposed"] else _convolution)(node, low)


MATMUL_CONV: dict[Any, Any] = {
    aten.matmul.default: _matmul,
    aten.mm.default: _matmul,
    aten.bmm.default: _matmul,
    aten.mv.default: _matmul,
    aten.dot.default: _matmul,
    aten.linear.default: _linear,
    aten.conv1d.default: _convolution,
    aten.conv1d.padding: _convolution,
    aten.conv2d.default: _convolution,
    aten.conv2d.padding: _convolution,
    aten.conv3d.default: _convolution,
    aten.conv3d.padding: _convolution,
    aten.convolution.default: _general,
    aten.conv_transpose1d.default: _transposed_convolution,
    aten.conv_transpose2d.input: _transposed_convolution,
    aten.conv_transpose3d.input: _transposed_convolution,
}
