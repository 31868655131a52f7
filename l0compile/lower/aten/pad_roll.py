"""Operators that move elements: pad, roll, flip, tril, triu, diagonal, slice_scatter and select_scatter."""

from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten.lowering import Index, Lowering, cast, dtype_name, from_front, long, slice_start

aten = torch.ops.aten


def _pad(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    mode = given.get("mode", "constant")
    source: Any = node.args[0]
    rank, pads = source.meta["val"].ndim, list(given["pad"])
    sizes = long(low.shape(source))
    # Pairs (before, after), the last axis first; a negative pad cuts elements off.
    before = {rank - 1 - n: cast(low.number(pads[2 * n]), "int64") for n in range(len(pads) // 2)}
    dtype = dtype_name(node.meta["val"].dtype)
    filler = low.number(given["value"]) if given.get("value") is not None else 0

    def element(index: Index, x: Any) -> Any:
        at = [i - before[d] if d in before else i for d, i in enumerate(index)]
        if mode != "constant":
            return x(*(_inside(mode, i, sizes[d]) if d in before else i for d, i in enumerate(at)))
        inside = [tirx.all(i >= 0, i < sizes[d]) for d, i in enumerate(at) if d in before]
        if not inside:
            return x(*at)
        return tirx.if_then_else(tirx.all(*inside), x(*at), cast(filler, dtype))

    return low.compute(node, element, source, name="pad")


def wrapped(i: Any, size: Any) -> Any:
    """Return ``i`` modulo ``size`` for ``i`` from ``-size`` to ``2 * size - 1``.

    This avoids floormod: TVM's FlattenBuffer drops the shift if two axes hold ``(i + shift) % size``.
    """
    i = from_front(i, size)
    return tirx.Select(i >= size, i - size, i)


def _inside(mode: str, i: Any, size: Any) -> Any:
    last, zero = size - 1, tirx.const(0, "int64")
    if mode == "replicate":
        return tirx.max(tirx.min(i, last), zero)
    if mode == "circular":
        return wrapped(i, size)
    if mode == "reflect":
        i = tirx.Select(i < 0, zero - i, i)
        return tirx.Select(i > last, last + last - i, i)
    raise BuildError(f"pad: expected mode constant, reflect, replicate or circular, got {mode!r}")


def _flip(node: fx.Node, low: Lowering) -> Any:
    source: Any = node.args[0]
    dims = {dim % source.meta["val"].ndim for dim in arguments(node)["dims"]}
    sizes = long(low.shape(source))

    def element(index: Index, x: Any) -> Any:
        return x(*(sizes[d] - 1 - i if d in dims else i for d, i in enumerate(index)))

    return low.compute(node, element, source, name="flip")


def _roll(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source: Any = node.args[0]
    shifts, dims = list(given["shifts"]), list(given["dims"])
    if not dims:
        raise BuildError(f"{node.name}: roll of a flattened tensor has no lowering; give dims")
    sizes = long(low.shape(source))
    moved: dict[int, Any] = {}
    for shift, dim in zip(shifts, dims, strict=True):
        axis = dim % source.meta["val"].ndim
        moved[axis] = moved.get(axis, tirx.const(0, "int64")) + cast(low.number(shift), "int64")

    def element(index: Index, x: Any) -> Any:
        at = list(index)
        for d, shift in moved.items():
            at[d] = wrapped(at[d] - tirx.floormod(shift, sizes[d]), sizes[d])
        return x(*at)

    return low.compute(node, element, source, name="roll")


def _triangle(upper: bool) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        diagonal = cast(low.number(arguments(node)["diagonal"]), "int64")
        dtype = dtype_name(node.meta["val"].dtype)

        def element(index: Index, x: Any) -> Any:
            distance = index[-1] - index[-2]
            kept = distance >= diagonal if upper else distance <= diagonal
            return tirx.Select(kept, x(*index), cast(0, dtype))

        return low.compute(node, element, node.args[0], name="triangle")

    return convert


def _diagonal(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source: Any = node.args[0]
    rank, offset = source.meta["val"].ndim, given["offset"]
    first, second = given["dim1"] % rank, given["dim2"] % rank

    def element(index: Index, x: Any) -> Any:
        rest = iter(index[:-1])
        at = {first: index[-1] + max(-offset, 0), second: index[-1] + max(offset, 0)}
        return x(*(at[d] if d in at else next(rest) for d in range(rank)))

    return low.compute(node, element, source, name="diagonal")


def _slice_scatter(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    x, piece = given["self"], given["src"]
    rank = x.meta["val"].ndim
    axis, step = given["dim"] % rank, given["step"]
    size = long(low.shape(x))[axis]
    length = long(low.shape(piece))[axis]
    first = slice_start(low.number(given["start"] if given["start"] is not None else 0), size)

    def element(index: Index, old: Any, new: Any) -> Any:
        offset = index[axis] - first
        at = tirx.floordiv(offset, cast(step, "int64"))
        inside = tirx.all(
            offset >= 0,
            tirx.EQ(tirx.floormod(offset, cast(step, "int64")), tirx.const(0, "int64")),
            at < length,
        )
        return tirx.if_then_else(inside, new(*index[:axis], at, *index[axis + 1 :]), old(*index))

    return low.compute(node, element, x, piece, name="slice_scatter")


def _select_scatter(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    x, piece = given["self"], given["src"]
    axis = given["dim"] % x.meta["val"].ndim
    size = long(low.shape(x))[axis]
    at = from_front(cast(low.number(given["index"]), "int64"), size)

    def element(index: Index, old: Any, new: Any) -> Any:
        return tirx.Select(tirx.EQ(index[axis], at), new(*index[:axis], *index[axis + 1 :]), old(*index))

    return low.compute(node, element, x, piece, name="select_scatter")


PAD_ROLL: dict[Any, Any] = {
    aten.constant_pad_nd.default: _pad,
    aten.pad.default: _pad,
    aten.flip.default: _flip,
    aten.roll.default: _roll,
    aten.tril.default: _triangle(upper=False),
    aten.triu.default: _triangle(upper=True),
    aten.diagonal.default: _diagonal,
    aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
}
