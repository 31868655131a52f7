"""Transfer functions of elementwise operators."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact, constant
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def _unary(node: fx.Node, view: View) -> Fact | None:
    if node.target is aten.dropout.default and arguments(node)["train"]:
        return None
    fact = view.fact(node.args[0])
    if not bool(fact.known.any()) or len(node.all_input_nodes) > 1:
        return None
    return Fact(fact.known, node.target(fact.value, *node.args[1:], **node.kwargs))


def _binary(node: fx.Node, view: View) -> Fact | None:
    left, right = view.fact(node.args[0]), view.fact(node.args[1])
    if any(isinstance(rest, fx.Node) for rest in (*node.args[2:], *node.kwargs.values())):
        return None
    if not bool(left.known.any()) or not bool(right.known.any()):
        return None
    value = node.target(left.value, right.value, *node.args[2:], **node.kwargs)
    return Fact(left.known & right.known, value.to(node.meta["val"].dtype))


def _multiply(node: fx.Node, view: View) -> Fact | None:
    left, right = view.fact(node.args[0]), view.fact(node.args[1])
    zero = left.zero | right.zero
    value = torch.where(zero, torch.zeros((), dtype=left.value.dtype), left.value * right.value)
    return Fact((left.known & right.known) | zero, value.to(node.meta["val"].dtype))


def _reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    return dict.fromkeys(node.all_input_nodes, live)


def _multiply_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """An element multiplied by a known zero is not read."""
    reads: dict[fx.Node, Tensor] = {}
    for operand, other in (node.args[:2], node.args[1::-1]):
        if isinstance(operand, fx.Node):
            mask = live & ~view.fact(other).zero
            reads[operand] = reads[operand] | mask if operand in reads else mask
    return reads


def _prelu(node: fx.Node, view: View) -> Fact | None:
    """x where positive, else x times the slope of its channel of axis 1.

    It is known where x is, if the slope is a constant, and zero where x is zero.
    """
    fact, slope, rank = view.fact(node.args[0]), view.constant(node.args[1]), len(shape(node))
    if slope is None:
        zero = fact.zero
        return Fact(zero, torch.zeros([1] * rank, dtype=fact.value.dtype))
    slope = slope.reshape(1, -1, *[1] * (rank - 2)) if rank > 1 else slope
    return Fact(fact.known, torch.where(fact.value > 0, fact.value, fact.value * slope))


def _prelu_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source, slope = operand_of(node), operand_of(node, 1)
    return {source: live, slope: everything(slope)}


def gate_values(node: fx.Node, view: View) -> Fact:
    """The gate values of an ``l0compile::gate`` node spread over the elements that they multiply."""
    grid, block = view.constant(node.args[1]), node.args[2]
    assert isinstance(node.args[0], fx.Node) and isinstance(block, (list, tuple))
    sizes = node.args[0].meta["val"].shape[-len(block) :]
    if grid is None or not all(isinstance(size, int) for size in sizes):
        return view.fact(None)
    return constant(spread_gate(grid, sizes, block))


def spread_gate(grid: Tensor, sizes: Any, block: Any) -> Tensor:
    """[grid] -> [sizes]: entry i covers ``block`` consecutive elements, the last one possibly fewer."""
    for axis, (size, edge) in enumerate(zip(sizes, block, strict=True)):
        grid = grid.repeat_interleave(int(edge), axis).narrow(axis, 0, int(size))
    return grid


def _gate(node: fx.Node, view: View) -> Fact | None:
    source, gate = view.fact(node.args[0]), gate_values(node, view)
    zero = source.zero | gate.zero
    value = torch.where(zero, torch.zeros((), dtype=source.value.dtype), source.value * gate.value)
    return Fact((source.known & gate.known) | zero, value)


def _gate_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = operand_of(node)
    return {source: live & ~gate_values(node, view).zero}


register(*operators(elementwise=1, fills=None), forward=_unary, backward=_reads)
register(
    *(op for op in operators(elementwise=2) if op is not aten.mul.Tensor), forward=_binary, backward=_reads
)
register(aten.mul.Tensor, forward=_multiply, backward=_multiply_reads)
register(aten.prelu.default, forward=_prelu, backward=_prelu_reads)
register(torch.ops.l0compile.gate.default, forward=_gate, backward=_gate_reads)
