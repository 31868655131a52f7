"""Operators that find positions of extremes: argmax, argmin, max and min along an axis, topk."""

from collections.abc import Callable
from typing import Any

from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.lowering import Index, Lowering, cast, long
from l0compile.lower.aten.reducers import MAX, MIN, Reducer, highest, lowest, reduced

_LARGEST_TOPK = 8


def _positions(
    x: Any, axis: int, keep: bool, reducer: Reducer, allowed: Callable[[Index], Any] | None = None
) -> Any:
    """Return the extreme along ``axis`` and its first position; ignore elements that ``allowed`` does not accept."""
    length = x.shape[axis]
    over = te.reduce_axis((0, length), name="k")
    again = te.reduce_axis((0, length), name="k2")
    worst = lowest if reducer is MAX else highest

    def full(i: Index, k: Any) -> Index:
        return (*i[:axis], k, *i[axis + (1 if keep else 0) :])

    shape = long(reduced(x, [axis], keep))

    def masked(i: Index, k: Any) -> Any:
        value = x(*full(i, k))
        if allowed is None:
            return value
        return tirx.Select(allowed(full(i, k)), value, worst(str(value.ty.dtype)))

    best = te.compute(shape, lambda *i: reducer(masked(i, over), axis=over), name="extreme")

    def place(*i: Any) -> Any:
        value = x(*full(i, again))
        hit = tirx.any(tirx.EQ(value, best(*i)), f.is_nan(value))
        if allowed is not None:
            hit = tirx.all(hit, allowed(full(i, again)))
        return te.min(tirx.Select(hit, again.var, cast(length, "int64")), axis=again)

    return best, te.compute(shape, place, name="position")


def arg_extreme(reducer: Reducer) -> Any:
    """Convert argmax or argmin, along an axis or of the flattened tensor; the first of equal elements wins."""

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


def extreme_dim(reducer: Reducer) -> Any:
    """Convert max or min along an axis, which gives values and positions."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        source: Any = node.args[0]
        axis = given["dim"] % source.meta["val"].ndim
        best = low.emit(lambda x: _positions(x, axis, given["keepdim"], reducer)[0], source, name="extreme")
        place = low.emit(lambda x: _positions(x, axis, given["keepdim"], reducer)[1], source, name="position")
        return best, place

    return convert


def topk(node: fx.Node, low: Lowering) -> Any:
    """Convert topk: find one extreme after the other, each among the elements that are left; equal ones keep order."""
    given = arguments(node)
    source: Any = node.args[0]
    count = given["k"]
    if not isinstance(count, int) or not 0 < count <= _LARGEST_TOPK:
        raise BuildError(f"{node.name}: topk: expected k from 1 to {_LARGEST_TOPK}, got {count}")
    axis = given["dim"] % source.meta["val"].ndim
    reducer = MAX if given["largest"] else MIN
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
