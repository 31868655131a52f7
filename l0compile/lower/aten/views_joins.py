"""Views, repeats, slices, splits and concatenations."""

from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments, is_empty_part
from l0compile.ir.operator_facts import operators
from l0compile.lower.aten.lowering import (
    Index,
    Lowering,
    broadcast_index,
    cast,
    dtype_name,
    from_front,
    long,
    slice_start,
)

aten = torch.ops.aten


def _reshape(node: fx.Node, low: Lowering) -> Any:
    return low.reshape(low.value(node.args[0]), low.shape(node))


def _moved(node: fx.Node, low: Lowering, order: list[int]) -> Any:
    """Permute the axes: axis d of the result is axis order[d] of the operand."""

    def element(index: Index, x: Any) -> Any:
        own: list[Any] = [None] * len(order)
        for position, axis in enumerate(order):
            own[axis] = index[position]
        return x(*own)

    return low.compute(node, element, node.args[0], name="permute")


def _permute(node: fx.Node, low: Lowering) -> Any:
    dims = arguments(node)["dims"]
    return _moved(node, low, [dim % len(dims) for dim in dims])


def _transpose(node: fx.Node, low: Lowering) -> Any:
    rank = node.meta["val"].ndim
    order = list(range(rank))
    if rank:
        given = arguments(node)
        first, second = (0, 1) if node.target == aten.t.default else (given["dim0"], given["dim1"])
        if rank > 1:
            order[first], order[second] = order[second], order[first]
    return _moved(node, low, order)


def _expand(node: fx.Node, low: Lowering) -> Any:
    source: Any = node.args[0]
    own, result = source.meta["val"].shape, node.meta["val"].shape

    def element(index: Index, x: Any) -> Any:
        return x(*broadcast_index(own, result, index, node.name))

    return low.compute(node, element, source, name="expand")


def _repeat(node: fx.Node, low: Lowering) -> Any:
    source: Any = node.args[0]
    own = low.shape(source)

    def element(index: Index, x: Any) -> Any:
        return x(
            *(
                tirx.floormod(i, size)
                for i, size in zip(index[len(index) - len(own) :], long(own), strict=True)
            )
        )

    return low.compute(node, element, source, name="repeat")


def _repeat_interleave(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source: Any = node.args[0]
    if given["dim"] is None:
        raise BuildError(f"{node.name}: repeat_interleave: expected a dimension, got dim=None")
    axis, times = given["dim"] % source.meta["val"].ndim, low.number(given["repeats"])

    def element(index: Index, x: Any) -> Any:
        return x(*(tirx.floordiv(i, cast(times, "int64")) if d == axis else i for d, i in enumerate(index)))

    return low.compute(node, element, source, name="repeat")


def _slice(node: fx.Node, low: Lowering) -> Any:
    """Convert x[start + i * step]; the size of the result says where it ends."""
    given = arguments(node)
    source: Any = node.args[0]
    axis = given["dim"] % source.meta["val"].ndim
    size, start = long(low.shape(source))[axis], given["start"]
    first = slice_start(low.number(start if start is not None else 0), size)
    step = cast(low.number(given["step"]), "int64")

    def element(index: Index, x: Any) -> Any:
        return x(*(first + i * step if d == axis else i for d, i in enumerate(index)))

    return low.compute(node, element, source, name="slice")


def _select(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source: Any = node.args[0]
    axis = given["dim"] % source.meta["val"].ndim
    size = long(low.shape(source))[axis]
    at = from_front(cast(low.number(given["index"]), "int64"), size)

    def element(index: Index, x: Any) -> Any:
        return x(*index[:axis], at, *index[axis:])

    return low.compute(node, element, source, name="select")


def _piece(node: fx.Node, low: Lowering, dim: int, start: Any, shape: Any) -> Any:
    source: Any = node.args[0]
    axis = dim % source.meta["val"].ndim
    first = cast(low.number(start), "int64")
    extents = long(low.symbols.shape(shape))

    def function(x: Any) -> Any:
        return te.compute(
            extents, lambda *i: x(*(first + k if d == axis else k for d, k in enumerate(i))), name="piece"
        )

    return low.emit(function, source, name="piece")


def _split(node: fx.Node, low: Lowering) -> Any:
    """Convert all pieces of a split; dead code elimination removes those that nothing reads."""
    dim, start, pieces = arguments(node)["dim"], 0, []
    for value in node.meta["val"]:
        pieces.append(_piece(node, low, dim, start, value.shape))
        start = start + value.shape[dim]
    return tuple(pieces)


def _unbind(node: fx.Node, low: Lowering) -> Any:
    source: Any = node.args[0]
    axis = arguments(node)["dim"] % source.meta["val"].ndim
    shapes = [long(low.symbols.shape(value.shape)) for value in node.meta["val"]]

    def piece(number: int) -> Any:
        return lambda x: te.compute(
            shapes[number], lambda *i: x(*i[:axis], tirx.const(number, "int64"), *i[axis:]), name="unbind"
        )

    return tuple(low.emit(piece(number), source, name="unbind") for number in range(len(shapes)))


def tuple_item(node: fx.Node, low: Lowering) -> Any:
    """Convert getitem, which picks one of several results of an operator."""
    container, position = node.args[:2]
    value = low.value(container)
    if not isinstance(value, tuple):
        raise BuildError(f"{node.name}: expected one of several results, got {container}")
    return value[position]


def _cat(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    parts = [part for part in given["tensors"] if not is_empty_part(part, node)]
    axis = given["dim"] % node.meta["val"].ndim if node.meta["val"].ndim else 0
    sizes = [long(low.shape(part))[axis] for part in parts]
    dtype = dtype_name(node.meta["val"].dtype)
    starts: list[Any] = [tirx.const(0, "int64")]
    for size in sizes[:-1]:
        starts.append(starts[-1] + size)

    def element(index: Index, *tensors: Any) -> Any:
        def read(number: int) -> Any:
            at = index[axis] - starts[number]
            return cast(tensors[number](*index[:axis], at, *index[axis + 1 :]), dtype)

        value = read(len(parts) - 1)
        for number in range(len(parts) - 2, -1, -1):
            value = tirx.if_then_else(index[axis] < starts[number + 1], read(number), value)
        return value

    return low.compute(node, element, *parts, name="cat")


def _stack(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    axis = given["dim"] % node.meta["val"].ndim
    dtype = dtype_name(node.meta["val"].dtype)

    def element(index: Index, *tensors: Any) -> Any:
        inner = (*index[:axis], *index[axis + 1 :])
        value = cast(tensors[-1](*inner), dtype)
        for number in range(len(tensors) - 2, -1, -1):
            here = tirx.EQ(index[axis], tirx.const(number, "int64"))
            value = tirx.if_then_else(here, cast(tensors[number](*inner), dtype), value)
        return value

    return low.compute(node, element, *given["tensors"], name="stack")


VIEWS_JOINS: dict[Any, Any] = {
    **dict.fromkeys(operators(moves="reshape"), _reshape),
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.t.default: _transpose,
    aten.expand.default: _expand,
    aten.repeat.default: _repeat,
    aten.tile.default: _repeat,
    aten.repeat_interleave.self_int: _repeat_interleave,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.unbind.int: _unbind,
    aten.cat.default: _cat,
    aten.stack.default: _stack,
}  # fmt: skip
