"""Max and average pooling."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten.lowering import Lowering, accumulator, cast, dtype_name, long
from l0compile.lower.aten.matmul_conv import per_axis
from l0compile.lower.aten.reducers import MAX, lowest

aten = torch.ops.aten


def _max_pool(space: int) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        window = per_axis(given["kernel_size"], space)
        stride = per_axis(given["stride"], space) if given["stride"] else window
        padding, dilation = per_axis(given["padding"], space), per_axis(given["dilation"], space)
        source: Any = node.args[0]
        lead = source.meta["val"].ndim - space
        shape, sizes = long(low.shape(node)), long(low.shape(source))[lead:]
        dtype = dtype_name(source.meta["val"].dtype)

        def function(x: Any) -> Any:
            k = [te.reduce_axis((0, size), name=f"k{d}") for d, size in enumerate(window)]

            def element(*i: Any) -> Any:
                at = [
                    p * s + kk * d - pad
                    for p, s, kk, d, pad in zip(i[lead:], stride, k, dilation, padding, strict=True)
                ]
                inside = [tirx.all(a >= 0, a < size) for a, size in zip(at, sizes, strict=True)]
                return MAX(tirx.if_then_else(tirx.all(*inside), x(*i[:lead], *at), lowest(dtype)), axis=k)

            return te.compute(shape, element, name="max_pool")

        return low.emit(function, source, name="max_pool")

    return convert


def _avg_pool(space: int) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        window = per_axis(given["kernel_size"], space)
        stride = per_axis(given["stride"], space) if given["stride"] else window
        padding, counts_border = per_axis(given["padding"], space), given["count_include_pad"]
        divisor = given.get("divisor_override")
        source: Any = node.args[0]
        lead = source.meta["val"].ndim - space
        shape, sizes = long(low.shape(node)), long(low.shape(source))[lead:]

        def count(place: Any) -> Any:
            """Count the elements of the window at ``place``; torch cuts it at the border, with or without padding."""
            total: Any = cast(1, "int64")
            for p, s, k, pad, size in zip(place, stride, window, padding, sizes, strict=True):
                first = p * s - pad
                last = tirx.min(first + k, size + pad)
                if not counts_border:
                    first, last = tirx.max(first, cast(0, "int64")), tirx.min(last, size)
                total = total * (last - first)
            return total

        def divided(place: Any) -> Any:
            return cast(divisor, "int64") if divisor else count(place)

        at = _Windows(lead, window, shape, lambda p, d: p * stride[d] - padding[d])
        return _mean_of_windows(node, low, at, divided)

    return convert


class _Windows:
    """Where pooling windows lie.

    Attributes:
        lead: Number of axes before the pooled ones.
        window: Window size on each pooled axis.
        shape: Shape of the result.
        start: (output position p, axis d) -> first input position of the window.
    """

    def __init__(self, lead: int, window: list[int], shape: Any, start: Callable[[Any, int], Any]) -> None:
        self.lead, self.window, self.shape, self.start = lead, window, shape, start


def _mean_of_windows(node: fx.Node, low: Lowering, at: _Windows, count: Callable[[Any], Any]) -> Any:
    source: Any = node.args[0]
    sizes = long(low.shape(source))[at.lead :]
    total, dtype = accumulator(node), dtype_name(node.meta["val"].dtype)

    def function(x: Any) -> Any:
        k = [te.reduce_axis((0, size), name=f"k{d}") for d, size in enumerate(at.window)]

        def element(*i: Any) -> Any:
            place = [at.start(p, d) + k[d] for d, p in enumerate(i[at.lead :])]
            inside = [tirx.all(a >= 0, a < size) for a, size in zip(place, sizes, strict=True)]
            value = cast(x(*i[: at.lead], *place), total)
            return te.sum(tirx.if_then_else(tirx.all(*inside), value, cast(0, total)), axis=k)

        sums = te.compute(at.shape, element, name="sums")
        return te.compute(
            at.shape, lambda *i: cast(sums(*i) / cast(count(i[at.lead :]), total), dtype), name="pool"
        )

    return low.emit(function, source, name="pool")


def _adaptive_avg_pool(space: int) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        source: Any = node.args[0]
        lead = source.meta["val"].ndim - space
        sizes, wanted = source.meta["val"].shape[lead:], node.meta["val"].shape[lead:]
        if not all(isinstance(w, int) for w in wanted):
            raise BuildError(
                f"{node.name}: adaptive pooling: expected a fixed size of the result, got {list(wanted)}"
            )
        if all(w == 1 for w in wanted):
            return _global_mean(node, low, lead)
        if not all(isinstance(s, int) and s % w == 0 for s, w in zip(sizes, wanted, strict=True)):
            raise BuildError(
                f"{node.name}: adaptive pooling: expected windows of equal size, got {list(sizes)} -> {list(wanted)}"
            )
        window = [s // w for s, w in zip(sizes, wanted, strict=True)]
        count = math.prod(window)
        at = _Windows(lead, window, long(low.shape(node)), lambda p, d: p * window[d])
        return _mean_of_windows(node, low, at, lambda place: cast(count, "int64"))

    return convert


def _global_mean(node: fx.Node, low: Lowering, lead: int) -> Any:
    total, dtype = accumulator(node), dtype_name(node.meta["val"].dtype)
    shape = long(low.shape(node))

    def function(x: Any) -> Any:
        k = [te.reduce_axis((0, size), name=f"k{d}") for d, size in enumerate(x.shape[lead:])]
        count: Any = 1
        for size in x.shape[lead:]:
            count = count * size
        sums = te.compute(shape, lambda *i: te.sum(cast(x(*i[:lead], *k), total), axis=k), name="sums")
        return te.compute(shape, lambda *i: cast(sums(*i) / cast(count, total), dtype), name="pool")

    return low.emit(function, node.args[0], name="pool")


POOLING: dict[Any, Any] = {
    aten.max_pool1d.default: _max_pool(1),
    aten.max_pool2d.default: _max_pool(2),
    aten.max_pool3d.default: _max_pool(3),
    aten.avg_pool1d.default: _avg_pool(1),
    aten.avg_pool2d.default: _avg_pool(2),
    aten.avg_pool3d.default: _avg_pool(3),
    aten.adaptive_avg_pool1d.default: _adaptive_avg_pool(1),
    aten.adaptive_avg_pool2d.default: _adaptive_avg_pool(2),
    aten.adaptive_avg_pool3d.default: _adaptive_avg_pool(3),
    aten._adaptive_avg_pool2d.default: _adaptive_avg_pool(2),
}
