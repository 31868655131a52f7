"""Sums, means, extremes, any, all and norms over axes; and the table of all operators that reduce or scan an axis."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.argmax import arg_extreme, extreme_dim, topk
from l0compile.lower.aten.cumulative import cumulative
from l0compile.lower.aten.lowering import Lowering, cast, dtype_name
from l0compile.lower.aten.reducers import MAX, MIN, PRODUCT, Reducer, axes_of, reduce_axes
from l0compile.lower.aten.softmax import softmax

aten = torch.ops.aten

Finish = Callable[[Any, Any], Any]


def _count(x: Any, axes: Sequence[int]) -> Any:
    total: Any = 1
    for d in axes:
        total = total * x.shape[d]
    return total


def reduction(
    reducer: Reducer, name: str, accumulate: Callable[[fx.Node], str], finish: Finish | None = None
) -> Any:
    """Make a conversion for ``op(self, dim, keepdim)``.

    Args:
        reducer: How two elements become one.
        name: Name of the tensor expression.
        accumulate: Node -> dtype in which to accumulate.
        finish: (reduced element, number of elements) -> element of the result.
    """

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        axes, keep = axes_of(node, given.get("dim")), bool(given.get("keepdim", False))
        dtype, result = accumulate(node), dtype_name(node.meta["val"].dtype)

        def function(x: Any) -> Any:
            total = reduce_axes(x, axes, keep, reducer, lambda value: cast(value, dtype), name)
            if finish is None and dtype == result:
                return total
            count = cast(_count(x, axes), dtype) if finish else None
            return te.compute(
                total.shape,
                lambda *i: cast(finish(total(*i), count) if finish else total(*i), result),
                name="finish",
            )

        return low.emit(function, node.args[0], name=name)

    return convert


# From this many elements up, one running sum in float32 is less exact than torch's sum of partial sums.
_LONG_SUM = 256


def _sum_dtype(node: fx.Node) -> str:
    """Return the dtype of a sum: float32 for bfloat16 and float16, as in torch; float64 for many float32 elements."""
    dtype = node.meta["val"].dtype
    if dtype == torch.float32:
        shape = node.args[0].meta["val"].shape
        count = 1
        for axis in axes_of(node, arguments(node).get("dim")):
            count = count * shape[axis] if isinstance(shape[axis], int) else _LONG_SUM
        return "float64" if count >= _LONG_SUM else "float32"
    return "float32" if dtype in (torch.bfloat16, torch.float16) else dtype_name(dtype)


def _own_dtype(node: fx.Node) -> str:
    return dtype_name(node.args[0].meta["val"].dtype)


def _truth(reducer: Reducer, name: str) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        axes, keep = axes_of(node, given.get("dim")), bool(given.get("keepdim", False))

        def function(x: Any) -> Any:
            counted = reduce_axes(
                x, axes, keep, reducer, lambda value: cast(cast(value, "bool"), "int32"), name
            )
            return te.compute(counted.shape, lambda *i: cast(counted(*i), "bool"), name="finish")

        return low.emit(function, node.args[0], name=name)

    return convert


def _vector_norm(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    if given["ord"] != 2:
        raise BuildError(f"{node.name}: linalg.vector_norm: expected order 2, got {given['ord']}")
    axes, dtype = axes_of(node, given["dim"]), _sum_dtype(node)

    def function(x: Any) -> Any:
        def squared(value: Any) -> Any:
            return cast(value, dtype) * cast(value, dtype)

        total = reduce_axes(x, axes, bool(given["keepdim"]), te.sum, squared, "squares")
        return te.compute(
            total.shape,
            lambda *i: cast(tirx.sqrt(total(*i)), dtype_name(node.meta["val"].dtype)),
            name="norm",
        )

    return low.emit(function, node.args[0], name="vector_norm")


REDUCTIONS: dict[Any, Any] = {
    aten.sum.default: reduction(te.sum, "sum", _sum_dtype),
    aten.sum.dim_IntList: reduction(te.sum, "sum", _sum_dtype),
    aten.mean.default: reduction(te.sum, "mean", _sum_dtype, f.divide),
    aten.mean.dim: reduction(te.sum, "mean", _sum_dtype, f.divide),
    aten.prod.default: reduction(PRODUCT, "product", _sum_dtype),
    aten.prod.dim_int: reduction(PRODUCT, "product", _sum_dtype),
    aten.amax.default: reduction(MAX, "max", _own_dtype),
    aten.amin.default: reduction(MIN, "min", _own_dtype),
    aten.max.default: reduction(MAX, "max", _own_dtype),
    aten.min.default: reduction(MIN, "min", _own_dtype),
    aten.any.default: _truth(te.max, "any"),
    aten.any.dim: _truth(te.max, "any"),
    aten.any.dims: _truth(te.max, "any"),
    aten.all.default: _truth(te.min, "all"),
    aten.all.dim: _truth(te.min, "all"),
    aten.all.dims: _truth(te.min, "all"),
    aten.argmax.default: arg_extreme(MAX),
    aten.argmin.default: arg_extreme(MIN),
    aten.max.dim: extreme_dim(MAX),
    aten.min.dim: extreme_dim(MIN),
    aten.topk.default: topk,
    aten.cumsum.default: cumulative(lambda a, b: a + b, "cumsum"),
    aten.cumprod.default: cumulative(lambda a, b: a * b, "cumprod"),
    aten.linalg_vector_norm.default: _vector_norm,
    aten.softmax.int: softmax(False),
    aten._softmax.default: softmax(False),
    aten.log_softmax.int: softmax(True),
    aten._log_softmax.default: softmax(True),
}
