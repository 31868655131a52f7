"""Transfer functions of operators that make a tensor of one number, or add rows at places known only at run time."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact, constant
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, same_shape, shape, tensor
from l0compile.ir.operator_facts import facts_of, operators

aten = torch.ops.aten


def _made(node: fx.Node, view: View) -> Fact | None:
    """Every element is the number that the tensor is filled with."""
    number = arguments(node).get("fill_value", facts_of(node).fills)
    if not isinstance(number, (int, float)):
        return None
    return constant(torch.full([1] * len(shape(node)), number, dtype=node.meta["val"].dtype))


def _made_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """No element of an operand is read, only its type and size."""
    tensors = [operand for operand in node.all_input_nodes if tensor(operand) is not None]
    return {operand: torch.zeros([1] * len(shape(operand)), dtype=torch.bool) for operand in tensors}


def _scattered(node: fx.Node) -> tuple[fx.Node, fx.Node, int] | None:
    """(target, source, axis) of index_add and scatter_add, if all other axes of the two are the same."""
    given = arguments(node)
    target, source = given["self"], given["source"] if "source" in given else given["src"]
    axis = int(given["dim"]) % len(shape(node))
    others = [operand for operand in (source, given["index"]) if len(shape(operand)) == len(shape(node))]
    sizes = [[size for a, size in enumerate(shape(operand)) if a != axis] for operand in (target, *others)]
    alike = all(same_shape(sizes[0], other) for other in sizes[1:])
    return (target, source, axis) if alike and target is not source else None


def _scatter(node: fx.Node, view: View) -> Fact | None:
    """Zeros added to zeros are zeros."""
    found = _scattered(node)
    if found is None:
        return None
    target, source, axis = found
    zero = view.fact(target).zero & view.fact(source).zero.all(axis, keepdim=True)
    return Fact(zero, torch.zeros([1] * zero.ndim, dtype=node.meta["val"].dtype))


def _scatter_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """Where a row goes is known only at run time; a channel of another axis is read where that of the result is."""
    found = _scattered(node)
    if found is None:
        return {}
    target, source, axis = found
    index = arguments(node)["index"]
    rows = live.any(axis, keepdim=True)
    return {target: live, source: rows, index: rows if len(shape(index)) == live.ndim else everything(index)}


for _number in (0.0, 1.0, "fill_value"):
    register(*operators(fills=_number), forward=_made, backward=_made_reads)
register(aten.index_add.default, aten.scatter_add.default, forward=_scatter, backward=_scatter_reads)
