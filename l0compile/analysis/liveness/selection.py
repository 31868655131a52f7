"""Transfer functions of operators that select or stack parts of a tensor, and of reductions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact, reduce_to
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, is_static, operand_of, shape, slice_bounds
from l0compile.ir.operator_facts import facts_of, operators

aten = torch.ops.aten


def _cut(value: Tensor, axis: int, index: Any) -> Tensor:
    """Index one axis; an axis of size 1 stands for all its channels."""
    return value if value.shape[axis] == 1 else value[(slice(None),) * axis + (index,)]


def _slice(node: fx.Node, view: View) -> Fact | None:
    bounds, fact = slice_bounds(node), view.fact(node.args[0])
    if bounds is None:
        return None
    axis, first, last, step = bounds
    index = slice(first, last, step)
    return Fact(_cut(fact.known, axis, index), _cut(fact.value, axis, index))


def _slice_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    bounds, source = slice_bounds(node), node.args[0]
    assert isinstance(source, fx.Node)
    if bounds is None:
        return {}
    axis, first, last, step = bounds
    sizes = [*live.shape]
    sizes[axis] = shape(source)[axis]
    mask = torch.zeros(sizes, dtype=torch.bool)
    mask[(slice(None),) * axis + (slice(first, last, step),)] = live
    return {source: mask}


def _select(node: fx.Node, view: View) -> Fact | None:
    given, fact = arguments(node), view.fact(node.args[0])
    axis = int(given["dim"]) % len(shape(given["self"]))
    if not is_static(given["index"]):
        return None
    index = given["index"] if fact.known.shape[axis] > 1 else 0
    values = given["index"] if fact.value.shape[axis] > 1 else 0
    return Fact(fact.known.select(axis, index), fact.value.select(axis, values))


def _select_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    given = arguments(node)
    source = given["self"]
    axis = int(given["dim"]) % len(shape(source))
    size = shape(source)[axis]
    if not is_static(given["index"]) or not is_static(size):
        return {}
    sizes = [*live.shape[:axis], size, *live.shape[axis:]]
    mask = torch.zeros(sizes, dtype=torch.bool)
    mask.select(axis, given["index"]).copy_(live)
    return {source: mask}


def _index_select_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """Any row may be picked at run time; a channel of another axis is read where that of the result is."""
    given = arguments(node)
    source, index = given["self"], given["index"]
    axis, order = int(given["dim"]) % len(shape(source)), view.constant(index)
    mask = live.any(axis, keepdim=True)
    if order is not None and is_static(shape(source)[axis]):
        sizes = [*live.shape[:axis], int(shape(source)[axis]), *live.shape[axis + 1 :]]
        each = live.expand([*live.shape[:axis], order.numel(), *live.shape[axis + 1 :]]).to(torch.int32)
        mask = torch.zeros(sizes, dtype=torch.int32).index_add(axis, order.reshape(-1), each) != 0
    return {source: mask, index: everything(index)}


def _index_select(node: fx.Node, view: View) -> Fact:
    index = view.constant(arguments(node)["index"])
    if index is not None:  # channels in another order
        axis, fact = int(arguments(node)["dim"]) % len(shape(node)), view.fact(node.args[0])
        return Fact(_cut(fact.known, axis, index.reshape(-1)), _cut(fact.value, axis, index.reshape(-1)))
    fact, axis = view.fact(node.args[0]), int(arguments(node)["dim"]) % len(shape(node))
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    first = value.select(axis, 0).unsqueeze(axis)
    return Fact(known.all(axis, keepdim=True) & (value == first).all(axis, keepdim=True), first)


def _where(node: fx.Node, view: View) -> Fact | None:
    """The result is known where both branches are known and agree."""
    left, right = view.fact(node.args[1]), view.fact(node.args[2])
    return Fact(left.known & right.known & (left.value == right.value), left.value.to(node.meta["val"].dtype))


def _where_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    return dict.fromkeys(node.all_input_nodes, live)


def _sum(node: fx.Node, view: View) -> Fact | None:
    """A reduction of known elements is known.

    Over an axis of symbolic size, that holds for the mean of equal numbers, for the sum of zeros, and for extremes.
    """
    x, axes, keepdim = reduced_axes(node)
    known, value = torch.broadcast_tensors(view.fact(x).known, view.fact(x).value)
    known = known.all(axes, keepdim=True) if axes else known
    value = torch.where(known, value, torch.zeros((), dtype=value.dtype))
    kind = facts_of(node).reduces
    if kind in ("max", "min"):
        value = (torch.amax if kind == "max" else torch.amin)(value, axes, keepdim=True)
    else:
        for axis in axes:
            known, value = _added(known, value, axis, shape(x)[axis], kind == "mean")
        known = known.all(axes, keepdim=True) if axes else known
    if not keepdim:
        rest = [size for axis, size in enumerate(known.shape) if axis not in axes]
        known, value = known.reshape(rest), value.reshape(rest)
    return Fact(known, value.to(node.meta["val"].dtype))


def _added(known: Tensor, value: Tensor, axis: int, size: Any, mean: bool) -> tuple[Tensor, Tensor]:
    """(known, values) after one axis is summed or averaged; ``known`` has size 1 along it already."""
    first = value.narrow(axis, 0, 1)
    alike = (value == first).all(axis, keepdim=True)
    if is_static(size):
        total = (value / size).sum(axis, keepdim=True) if mean else value.sum(axis, keepdim=True)
        scale = 1 if value.shape[axis] == size else size
        return known, torch.where(alike, first if mean else first * size, total * scale)
    return known & alike & (first == 0 if not mean else alike), first


def _sum_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    x, axes, keepdim = reduced_axes(node)
    sizes = iter(live.shape)
    mask = live if keepdim else live.reshape([1 if a in axes else next(sizes) for a in range(len(shape(x)))])
    return {x: mask}


def reduced_axes(node: fx.Node) -> tuple[fx.Node, tuple[int, ...], bool]:
    """(operand, axes that a reduction runs over, whether they stay with size 1)."""
    given = arguments(node)
    x, dims = node.args[0], given.get("dim")
    assert isinstance(x, fx.Node)
    rank = len(shape(x))
    if dims is None or dims == []:
        axes = tuple(range(rank))
    else:
        axes = tuple(sorted({dim % rank for dim in (dims if isinstance(dims, (list, tuple)) else [dims])}))
    return x, axes, bool(given.get("keepdim", False))


def _stack(node: fx.Node, view: View) -> Fact | None:
    axis = int(arguments(node)["dim"]) % len(shape(node))
    facts = [view.fact(part) for part in node.args[0]]
    known = torch.broadcast_tensors(*(fact.known for fact in facts))
    value = torch.broadcast_tensors(*(fact.value for fact in facts))
    return Fact(torch.stack(known, axis), torch.stack(value, axis))


def _stack_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    axis = int(arguments(node)["dim"]) % len(shape(node))
    reads: dict[fx.Node, Tensor] = {}
    for position, part in enumerate(node.args[0]):
        assert isinstance(part, fx.Node)
        mask = live.select(axis, position if live.shape[axis] > 1 else 0)
        reads[part] = reads[part] | mask if part in reads else mask
    return reads


def _whole_axis_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = operand_of(node)
    return {source: reduce_to(live.any(int(arguments(node)["dim"]), keepdim=True), shape(source))}


def _nothing(node: fx.Node, view: View) -> Fact | None:
    return None


register(aten.slice.Tensor, forward=_slice, backward=_slice_reads)
register(aten.select.int, forward=_select, backward=_select_reads)
register(aten.index_select.default, forward=_index_select, backward=_index_select_reads)
register(aten.where.self, forward=_where, backward=_where_reads)
for _kind in ("sum", "mean", "max", "min"):
    register(*operators(reduces=_kind), forward=_sum, backward=_sum_reads)
register(aten.stack.default, forward=_stack, backward=_stack_reads)
register(*operators(mixes=True), forward=_nothing, backward=_whole_axis_reads)
