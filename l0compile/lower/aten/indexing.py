"""Reads and writes at computed positions.

Every position is clamped to the size of its tensor. An index that is out of range therefore gives a wrong number, where
torch raises, but no access outside the tensor. Inputs that hold indices are checked before the call (see index_bounds),
so a caller never meets such a wrong number.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import TB, tirx
from l0compile.ir.nodes import arguments, tensor
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.loops import nested_loops
from l0compile.lower.aten.lowering import (
    Index,
    Lowering,
    accumulator,
    broadcast_index,
    cast,
    dtype_name,
    from_front,
)
from l0compile.lower.aten.reducers import highest, lowest

aten = torch.ops.aten


def position(value: Any, size: Any, wraps: bool = False) -> Any:
    """Clamp ``value`` to an int64 position in 0..size-1; with ``wraps``, a negative one counts from the end first."""
    value, size = cast(value, "int64"), cast(size, "int64")
    if wraps:
        value = from_front(value, size)
    return tirx.max(tirx.min(value, size - 1), tirx.const(0, "int64"))


def _embedding(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)

    def element(index: Index, table: Any, places: Any) -> Any:
        return table(position(places(*index[:-1]), table.shape[0]), index[-1])

    return low.compute(node, element, given["weight"], given["indices"], name="embedding")


def _gather(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    axis = given["dim"] % max(node.meta["val"].ndim, 1)

    def element(index: Index, x: Any, places: Any) -> Any:
        if not index:
            return x()
        return x(*index[:axis], position(places(*index), x.shape[axis]), *index[axis + 1 :])

    return low.compute(node, element, given["self"], given["index"], name="gather")


def _index_select(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    if not given["self"].meta["val"].ndim or not given["index"].meta["val"].ndim:
        raise BuildError(f"{node.name}: index_select: expected tensors of rank 1 or more, got rank 0")
    axis = given["dim"] % node.meta["val"].ndim

    def element(index: Index, x: Any, places: Any) -> Any:
        return x(*index[:axis], position(places(index[axis]), x.shape[axis]), *index[axis + 1 :])

    return low.compute(node, element, given["self"], given["index"], name="index_select")


def _placed(node: fx.Node, indices: Any) -> tuple[list[tuple[int, fx.Node]], Any, int]:
    """Return pairs (axis, index tensor), the common shape of the indices, and where its axes stand in the result."""
    pairs = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    for _, index in pairs:
        if (
            tensor(index) is None
            or index.meta["val"].dtype == torch.bool
            or index.meta["val"].dtype == torch.uint8
        ):
            raise BuildError(
                f"{node.name}: the result of indexing by a mask has no fixed size; use torch.where"
            )
    axes = [axis for axis, _ in pairs]
    shape = torch.broadcast_shapes(*(index.meta["val"].shape for _, index in pairs))
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    return pairs, shape, axes[0] if adjacent else 0


def _index(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source = given["self"]
    rank = source.meta["val"].ndim
    pairs, common, start = _placed(node, given["indices"])
    if not pairs:
        return low.value(source)
    width, axes = len(common), [axis for axis, _ in pairs]

    def element(index: Index, x: Any, *places: Any) -> Any:
        block = index[start : start + width]
        rest = iter((*index[:start], *index[start + width :]))
        at: dict[int, Any] = {}
        for (axis, own), place in zip(pairs, places, strict=True):
            where = broadcast_index(own.meta["val"].shape, common, block, node.name)
            at[axis] = position(place(*where), x.shape[axis], wraps=True)
        return x(*(at[d] if d in axes else next(rest) for d in range(rank)))

    return low.compute(node, element, source, *(index for _, index in pairs), name="index")


def _copy(out: Any, x: Any) -> None:
    with nested_loops(list(x.shape)) as index:
        value = x[tuple(index)] if index else x[()]
        TB.buffer_store(out, cast(value, str(out.dtype)), list(index))


def _scatter(
    combine: Callable[[Any, Any], Any], neutral: Callable[[str], Any] | None = None, wide: bool = True
) -> Any:
    """Convert a scatter: out = self; out[..., index[i], ...] = combine(out[...], src[i]) for every i in order.

    Args:
        combine: The old and the new element -> the element to write.
        neutral: dtype -> the value that elements which are written to start from, instead of that of ``self``.
        wide: Combine numbers of 16 bits in float32 and round once, as torch does in all of these.
    """

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        source, places = given["self"], given["index"]
        update = given["src"] if "src" in given else given["value"]
        rank = source.meta["val"].ndim
        if not rank:
            raise BuildError(f"{node.name}: scatter: expected a tensor of rank 1 or more, got rank 0")
        axis = given["dim"] % rank
        dtype = accumulator(node) if wide else dtype_name(node.meta["val"].dtype)
        dense = tensor(update) is not None

        def body(out: Any, x: Any, index: Any, *rest: Any) -> None:
            _copy(out, x)
            if neutral is not None:
                with nested_loops(list(index.shape)) as i:
                    at = list(i)
                    at[axis] = position(index[tuple(i)], x.shape[axis])
                    TB.buffer_store(out, neutral(dtype), at)
            with nested_loops(list(index.shape)) as i:
                at = list(i)
                at[axis] = position(index[tuple(i)], x.shape[axis])
                value = rest[0][tuple(i)] if dense else low.number(update)
                TB.buffer_store(out, combine(out[tuple(at)], cast(value, dtype)), at)

        operands = [source, places, *([update] if dense else [])]
        return low.extern(node, body, *operands, name="scatter", dtype=dtype)

    return convert


def _scatter_reduce(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    how = given["reduce"]
    if how not in _REDUCTIONS:
        raise BuildError(
            f"{node.name}: scatter_reduce: expected {', '.join(sorted(_REDUCTIONS))}, got {how!r}"
        )
    # Without include_self, every element that is written to starts from the neutral value of the reduction.
    combine, neutral = _REDUCTIONS[how]
    return _scatter(combine, None if given["include_self"] else neutral)(node, low)


def _index_add(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source, places, update = given["self"], given["index"], given["source"]
    rank = source.meta["val"].ndim
    if not rank or not places.meta["val"].ndim:
        raise BuildError(f"{node.name}: index_add of a tensor of rank 0")
    axis, factor = given["dim"] % rank, low.number(given["alpha"])
    plain = isinstance(factor, int) and factor == 1
    # Numbers of 16 bits: torch adds along the first and the last axis in float32, elsewhere it rounds each sum.
    wide = plain and rank > 1 and axis in (0, rank - 1)
    dtype = accumulator(node) if wide else dtype_name(node.meta["val"].dtype)

    def body(out: Any, x: Any, index: Any, new: Any) -> None:
        _copy(out, x)
        # The indexed axis outside: the innermost loop then runs along memory.
        order = [axis, *(d for d in range(rank) if d != axis)]
        with nested_loops([new.shape[d] for d in order]) as loops:
            i = [loops[order.index(d)] for d in range(rank)]
            at = list(i)
            at[axis] = position(index[i[axis]], x.shape[axis])
            value = cast(new[tuple(i)], dtype)
            if not plain:
                value = value * cast(factor, dtype)
            TB.buffer_store(out, out[tuple(at)] + value, at)

    return low.extern(node, body, source, places, update, name="index_add", dtype=dtype)


def _index_put(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    source, values, adds = given["self"], given["values"], given["accumulate"]
    rank = source.meta["val"].ndim
    pairs, common, start = _placed(node, given["indices"])
    free = [d for d in range(rank) if d not in [axis for axis, _ in pairs]]
    dims = source.meta["val"].shape
    before, after = [d for d in free if d < pairs[0][0]] if start else [], free
    after = [d for d in free if d not in before]
    shape = [*(dims[d] for d in before), *common, *(dims[d] for d in after)]

    def body(out: Any, x: Any, new: Any, *places: Any) -> None:
        _copy(out, x)
        with nested_loops(low.symbols.shape(shape)) as loops:
            block = tuple(loops[len(before) : len(before) + len(common)])
            rest = [*loops[: len(before)], *loops[len(before) + len(common) :]]
            at: dict[int, Any] = dict(zip([*before, *after], rest, strict=True))
            for (axis, own), place in zip(pairs, places, strict=True):
                where = broadcast_index(own.meta["val"].shape, common, block, node.name)
                at[axis] = position(place[where], x.shape[axis], wraps=True)
            target = [at[d] for d in range(rank)]
            value = new[broadcast_index(values.meta["val"].shape, shape, tuple(loops), node.name)]
            TB.buffer_store(out, out[tuple(target)] + value if adds else value, target)

    return low.extern(node, body, source, values, *(index for _, index in pairs), name="index_put")


# name -> (combination of two elements, neutral element of a dtype)
_REDUCTIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[str], Any]]] = {
    "sum": (lambda a, b: a + b, lambda dtype: cast(0, dtype)),
    "prod": (lambda a, b: a * b, lambda dtype: cast(1, dtype)),
    "amax": (f.maximum, lowest),
    "amin": (f.minimum, highest),
}

INDEXING: dict[Any, Any] = {
    aten.embedding.default: _embedding,
    aten.gather.default: _gather,
    aten.index_select.default: _index_select,
    aten.index.Tensor: _index,
    aten._unsafe_index.Tensor: _index,
    aten.index_put.default: _index_put,
    aten.index_add.default: _index_add,
    aten.scatter.src: _scatter(lambda old, new: new, wide=False),
    aten.scatter.value: _scatter(lambda old, new: new, wide=False),
    aten.scatter_add.default: _scatter(lambda old, new: old + new),
    aten.scatter_reduce.two: _scatter_reduce,
}
