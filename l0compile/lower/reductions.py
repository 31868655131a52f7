"""Reductions: sums, extremes, softmax, running sums."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx

from l0compile._tvm import TB, te, tirx
from l0compile.capture.nodes import arguments
from l0compile.errors import BuildError
from l0compile.lower import scalar_functions as f
from l0compile.lower.operands import Index, Lowering, cast, dtype_name, long
from l0compile.lower.serial import serial

aten = torch.ops.aten

Reducer = Callable[..., Any]
Finish = Callable[[Any, Any], Any]

_LARGEST_TOPK = 8


def _lowest(dtype: str) -> Any:
    return tirx.const(-math.inf, dtype) if "float" in dtype else tirx.min_value(dtype)


def _highest(dtype: str) -> Any:
    return tirx.const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


# torch's extremes are NaN as soon as one element is.
_MAX = te.comm_reducer(f.maximum, _lowest, name="max")
_MIN = te.comm_reducer(f.minimum, _highest, name="min")
_PRODUCT = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="product")


def _axes(node: fx.Node, dims: Any) -> list[int]:
    rank = node.args[0].meta["val"].ndim
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return list(range(rank))
    given = dims if isinstance(dims, (list, tuple)) else [dims]
    return sorted({dim % rank for dim in given}) if rank else []


def _reduced(x: Any, axes: Sequence[int], keep: bool) -> list[Any]:
    return [1 if d in axes else size for d, size in enumerate(x.shape) if keep or d not in axes]


def fold(
    x: Any, axes: Sequence[int], keep: bool, reducer: Reducer, load: Callable[[Any], Any], name: str
) -> Any:
    """The tensor expression that reduces ``load(x[...])`` over ``axes``."""
    over = {d: te.reduce_axis((0, x.shape[d]), name=f"r{d}") for d in axes}

    def element(*index: Any) -> Any:
        rest = iter(index)
        full = []
        for d in range(len(x.shape)):
            if d in over:
                full.append(over[d])
                if keep:
                    next(rest)
            else:
                full.append(next(rest))
        value = load(x(*full))
        return reducer(value, axis=list(over.values())) if over else value

    return te.compute(long(_reduced(x, axes, keep)), element, name=name)


def _count(x: Any, axes: Sequence[int]) -> Any:
    total: Any = 1
    for d in axes:
        total = total * x.shape[d]
    return total


def reduction(
    reducer: Reducer, name: str, accumulate: Callable[[fx.Node], str], finish: Finish | None = None
) -> Any:
    """A conversion for ``op(self, dim, keepdim)`` that accumulates in the given dtype."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        axes, keep = _axes(node, given.get("dim")), bool(given.get("keepdim", False))
        dtype, result = accumulate(node), dtype_name(node.meta["val"].dtype)

        def function(x: Any) -> Any:
            total = fold(x, axes, keep, reducer, lambda value: cast(value, dtype), name)
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


# From this many elements on, one float32 running sum is worse than torch's sum of partial sums.
_LONG_SUM = 256


def _sum_dtype(node: fx.Node) -> str:
    """bfloat16 and float16 are added in float32, as in torch, whole numbers in int64, many float32 in float64."""
    dtype = node.meta["val"].dtype
    if dtype == torch.float32:
        shape = node.args[0].meta["val"].shape
        count = 1
        for axis in _axes(node, arguments(node).get("dim")):
            count = count * shape[axis] if isinstance(shape[axis], int) else _LONG_SUM
        return "float64" if count >= _LONG_SUM else "float32"
    return "float32" if dtype in (torch.bfloat16, torch.float16) else dtype_name(dtype)


def _own_dtype(node: fx.Node) -> str:
    return dtype_name(node.args[0].meta["val"].dtype)


def _truth(reducer: Reducer, name: str) -> Any:
    def load_reduce(value: Any, axis: Any) -> Any:
        return reducer(cast(cast(value, "bool"), "int32"), axis=axis)

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        axes, keep = _axes(node, given.get("dim")), bool(given.get("keepdim", False))

        def function(x: Any) -> Any:
            counted = fold(x, axes, keep, reducer, lambda value: cast(cast(value, "bool"), "int32"), name)
            return te.compute(counted.shape, lambda *i: cast(counted(*i), "bool"), name="finish")

        return low.emit(function, node.args[0], name=name)

    return convert


def _vector_norm(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    if given["ord"] != 2:
        raise BuildError(f"{node.name}: linalg.vector_norm of order {given['ord']}: only order 2 is lowered")
    axes, dtype = _axes(node, given["dim"]), _sum_dtype(node)

    def function(x: Any) -> Any:
        def squared(value: Any) -> Any:
            return cast(value, dtype) * cast(value, dtype)

        total = fold(x, axes, bool(given["keepdim"]), te.sum, squared, "squares")
        return te.compute(
            total.shape,
            lambda *i: cast(tirx.sqrt(total(*i)), dtype_name(node.meta["val"].dtype)),
            name="norm",
        )

    return low.emit(function, node.args[0], name="vector_norm")


def _softmax(logarithm: bool) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        dim = arguments(node)["dim"]
        result = dtype_name(node.meta["val"].dtype)
        dtype = "float64" if result == "float64" else "float32"

        def function(x: Any) -> Any:
            if not x.shape:
                return te.compute((), lambda: tirx.const(0.0 if logarithm else 1.0, result), name="softmax")
            axis = dim % len(x.shape)
            top = fold(x, [axis], True, te.max, lambda value: cast(value, dtype), "top")

            def at(i: Index) -> Index:
                return tuple(tirx.const(0, "int64") if d == axis else value for d, value in enumerate(i))

            shifted = te.compute(x.shape, lambda *i: cast(x(*i), dtype) - top(*at(i)), name="shifted")
            exponents = te.compute(x.shape, lambda *i: f.exp(shifted(*i)), name="exponents")
            total = fold(exponents, [axis], True, te.sum, lambda value: value, "total")
            if logarithm:
                return te.compute(
                    x.shape,
                    lambda *i: cast(shifted(*i) - tirx.log(total(*at(i))), result),
                    name="log_softmax",
                )
            return te.compute(x.shape, lambda *i: cast(exponents(*i) / total(*at(i)), result), name="softmax")

        return low.emit(function, node.args[0], name="softmax")

    return convert


def _positions(
    x: Any, axis: int, keep: bool, reducer: Reducer, allowed: Callable[[Index], Any] | None = None
) -> Any:
    """(extreme, first position of it) along ``axis``; only elements that ``allowed`` accepts count."""
    length = x.shape[axis]
    over = te.reduce_axis((0, length), name="k")
    again = te.reduce_axis((0, length), name="k2")
    lowest = _lowest if reducer is _MAX else _highest

    def full(i: Index, k: Any) -> Index:
        return (*i[:axis], k, *i[axis + (1 if keep else 0) :])

    shape = long(_reduced(x, [axis], keep))

    def masked(i: Index, k: Any) -> Any:
        value = x(*full(i, k))
        if allowed is None:
            return value
        return tirx.Select(allowed(full(i, k)), value, lowest(str(value.ty.dtype)))

    best = te.compute(shape, lambda *i: reducer(masked(i, over), axis=over), name="extreme")

    def place(*i: Any) -> Any:
        value = x(*full(i, again))
        hit = tirx.any(tirx.EQ(value, best(*i)), f.is_nan(value))
        if allowed is not None:
            hit = tirx.all(hit, allowed(full(i, again)))
        return te.min(tirx.Select(hit, again.var, cast(length, "int64")), axis=again)

    return best, te.compute(shape, place, name="position")


def _arg(reducer: Reducer) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        source: Any = node.args[0]
        value = low.value(source)
        keep, dim = bool(given["keepdim"]), given["dim"]
        if dim is None:
            size: Any = 1
            for extent in low.shape(source):
                size = size * extent
            value, dim, keep = low.reshape(value, [size]), 0, False
        rank = source.meta["val"].ndim if given["dim"] is not None else 1
        function = lambda x: _positions(x, dim % rank, keep, reducer)[1]  # noqa: E731
        result = low.emit_values(function, value, name="position")
        return low.reshape(result, low.shape(node)) if given["dim"] is None else result

    return convert


def _extreme_dim(reducer: Reducer) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        source: Any = node.args[0]
        axis = given["dim"] % source.meta["val"].ndim
        best = low.emit(lambda x: _positions(x, axis, given["keepdim"], reducer)[0], source, name="extreme")
        place = low.emit(lambda x: _positions(x, axis, given["keepdim"], reducer)[1], source, name="position")
        return best, place

    return convert


def _topk(node: fx.Node, low: Lowering) -> Any:
    """One extreme after the other, each without those before; equal values come in order of position."""
    given = arguments(node)
    source: Any = node.args[0]
    count = given["k"]
    if not isinstance(count, int) or not 0 < count <= _LARGEST_TOPK:
        raise BuildError(f"{node.name}: topk with k={count}: lowered for k from 1 to {_LARGEST_TOPK}")
    axis = given["dim"] % source.meta["val"].ndim
    reducer = _MAX if given["largest"] else _MIN
    places: list[Any] = []

    def position(x: Any, *earlier: Any) -> Any:
        def allowed(index: Index) -> Any:
            return tirx.all(*(
                tirx.NE(e(*(0 if d == axis else i for d, i in enumerate(index))), index[axis]) for e in earlier
            ))  # fmt: skip

        return _positions(x, axis, True, reducer, allowed if earlier else None)[1]

    x = low.value(source)
    for _ in range(count):
        places.append(low.emit_values(position, x, *places, name="position"))
    shape = long(low.symbols.shape(node.meta["val"][0].shape))

    def joined(*parts: Any) -> Any:
        def element(*i: Any) -> Any:
            at = tuple(0 if d == axis else value for d, value in enumerate(i))
            value = parts[-1](*at)
            for number in range(count - 2, -1, -1):
                value = tirx.Select(tirx.EQ(i[axis], tirx.const(number, "int64")), parts[number](*at), value)
            return value

        return te.compute(shape, element, name="positions")

    indices = low.emit_values(joined, *places, name="positions")

    def pick(x: Any, places: Any) -> Any:
        def element(*i: Any) -> Any:
            last = x.shape[axis] - 1
            at = tirx.max(tirx.min(places(*i), last), tirx.const(0, "int64"))
            return x(*(at if d == axis else value for d, value in enumerate(i)))

        return te.compute(shape, element, name="values")

    return low.emit_values(pick, x, indices, name="values"), indices


def _running(combine: Callable[[Any, Any], Any], name: str) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        source: Any = node.args[0]
        rank = source.meta["val"].ndim
        if not rank:
            return low.compute(node, lambda i, x: x(), source, name=name)
        axis, dtype = arguments(node)["dim"] % rank, dtype_name(node.meta["val"].dtype)

        def body(out: Any, x: Any) -> None:
            before, after = list(x.shape[:axis]), list(x.shape[axis + 1 :])
            with serial([*before, x.shape[axis], *after]) as index:
                k = index[axis]
                last = (*index[:axis], tirx.max(k - 1, tirx.const(0, "int64")), *index[axis + 1 :])
                value = cast(x[tuple(index)], dtype)
                # The first element is itself; its "one before" is read, and not used.
                TB.buffer_store(out, tirx.if_then_else(k > 0, combine(out[last], value), value), list(index))

        return low.extern(node, body, source, name=name)

    return convert


REDUCTIONS: dict[Any, Any] = {
    aten.sum.default: reduction(te.sum, "sum", _sum_dtype),
    aten.sum.dim_IntList: reduction(te.sum, "sum", _sum_dtype),
    aten.mean.default: reduction(te.sum, "mean", _sum_dtype, f.divide),
    aten.mean.dim: reduction(te.sum, "mean", _sum_dtype, f.divide),
    aten.prod.default: reduction(_PRODUCT, "product", _sum_dtype),
    aten.prod.dim_int: reduction(_PRODUCT, "product", _sum_dtype),
    aten.amax.default: reduction(_MAX, "max", _own_dtype),
    aten.amin.default: reduction(_MIN, "min", _own_dtype),
    aten.max.default: reduction(_MAX, "max", _own_dtype),
    aten.min.default: reduction(_MIN, "min", _own_dtype),
    aten.any.default: _truth(te.max, "any"),
    aten.any.dim: _truth(te.max, "any"),
    aten.any.dims: _truth(te.max, "any"),
    aten.all.default: _truth(te.min, "all"),
    aten.all.dim: _truth(te.min, "all"),
    aten.all.dims: _truth(te.min, "all"),
    aten.argmax.default: _arg(_MAX),
    aten.argmin.default: _arg(_MIN),
    aten.max.dim: _extreme_dim(_MAX),
    aten.min.dim: _extreme_dim(_MIN),
    aten.topk.default: _topk,
    aten.cumsum.default: _running(lambda a, b: a + b, "cumsum"),
    aten.cumprod.default: _running(lambda a, b: a * b, "cumprod"),
    aten.linalg_vector_norm.default: _vector_norm,
    aten.softmax.int: _softmax(False),
    aten._softmax.default: _softmax(False),
    aten.log_softmax.int: _softmax(True),
    aten._log_softmax.default: _softmax(True),
}
