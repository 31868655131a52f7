"""Transfer functions of operators that move elements without changing them."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact
from l0compile.analysis.liveness.reshaping import through
from l0compile.analysis.liveness.table import View, register
from l0compile.ir.nodes import arguments, is_empty_part, is_static, operand_of, shape
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def _reshape(node: fx.Node, view: View) -> Fact | None:
    fact, before, after = view.fact(node.args[0]), shape(operand_of(node)), shape(node)
    known, value = through(fact.known, before, after), through(fact.value, before, after)
    return None if known is None or value is None else Fact(known, value)


def _reshape_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    mask = through(live, shape(node), shape(operand_of(node)))
    return {} if mask is None else {operand_of(node): mask}


def permutation(node: fx.Node) -> list[int]:
    """The input axis of each output axis."""
    rank, given = len(shape(node)), arguments(node)
    if node.target is aten.t.default:
        return [1, 0][-rank:] if rank == 2 else list(range(rank))
    if node.target is aten.permute.default:
        return [axis % rank for axis in given["dims"]]
    order = list(range(rank))
    first, second = given["dim0"] % rank, given["dim1"] % rank
    order[first], order[second] = order[second], order[first]
    return order


def _permute(node: fx.Node, view: View) -> Fact:
    fact, order = view.fact(node.args[0]), permutation(node)
    return Fact(_ranked(fact.known, order).permute(order), _ranked(fact.value, order).permute(order))


def _permute_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    order = permutation(node)
    return {operand_of(node): _ranked(live, order).permute([order.index(axis) for axis in range(len(order))])}


def _ranked(tensor: Tensor, order: list[int]) -> Tensor:
    return tensor.reshape([1] * (len(order) - tensor.ndim) + list(tensor.shape))


def _expand(node: fx.Node, view: View) -> Fact:
    return view.fact(node.args[0])


def _expand_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    return {operand_of(node): live}


def _cat_axis(node: fx.Node) -> int:
    return int(arguments(node)["dim"]) % len(shape(node))


def _parts(node: fx.Node) -> list[fx.Node]:
    """The parts of a concatenation that are not empty."""
    return [part for part in arguments(node)["tensors"] if not is_empty_part(part, node)]


def _cat(node: fx.Node, view: View) -> Fact | None:
    parts, axis = _parts(node), _cat_axis(node)
    if not parts:
        return None
    facts = [view.fact(part) for part in parts]
    sizes = [shape(part)[axis] for part in parts]
    if not all(map(is_static, sizes)):
        return None
    values = _joined([fact.value for fact in facts], sizes, axis)
    return Fact(_joined([fact.known for fact in facts], sizes, axis), values.to(node.meta["val"].dtype))


def _joined(tensors: list[Tensor], sizes: list[int], axis: int) -> Tensor:
    common = list(torch.broadcast_shapes(*([*t.shape[:axis], 1, *t.shape[axis + 1 :]] for t in tensors)))
    return torch.cat(
        [t.expand([*common[:axis], n, *common[axis + 1 :]]) for t, n in zip(tensors, sizes, strict=True)],
        axis,
    )


def _cat_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    axis, start = _cat_axis(node), 0
    reads: dict[fx.Node, Tensor] = {}
    for part in _parts(node):
        size = shape(part)[axis]
        if not is_static(size):
            return {}
        mask = live if live.shape[axis] == 1 else live.narrow(axis, start, size)
        reads[part] = reads[part] | mask if part in reads else mask
        start += size
    return reads


register(*operators(moves="reshape"), forward=_reshape, backward=_reshape_reads)
register(*operators(moves="permute"), forward=_permute, backward=_permute_reads)
register(aten.expand.default, forward=_expand, backward=_expand_reads)
register(aten.cat.default, forward=_cat, backward=_cat_reads)
