"""Elementwise operators: an axis of the result is the same axis of every operand that is not broadcast along it."""

import torch
from torch import fx

from l0compile.analysis.coupling.axes import Coupling
from l0compile.analysis.coupling.table import register
from l0compile.ir.nodes import operand_of, shape, tensor
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def broadcast(node: fx.Node, coupling: Coupling) -> None:
    """Link the right-aligned axes of the tensor operands and the result."""
    rank = len(shape(node))
    for operand in node.all_input_nodes:
        value = tensor(operand)
        for back in range(1, (value.ndim if value is not None else 0) + 1):
            assert value is not None
            coupling.same(node, (node, rank - back), (operand, value.ndim - back))


def gate(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::gate(x, grid, block)``: entries of the grid cover blocks of channels, so all stay."""
    source, grid = operand_of(node), operand_of(node, 1)
    coupling.pin_all(grid, "they are entries of a gate")
    coupling.pin_all(source, "a gate of blocks reads them")
    coupling.pin_all(node, "a gate of blocks reads them")


def _prelu(node: fx.Node, coupling: Coupling) -> None:
    source, slope = operand_of(node), operand_of(node, 1)
    for axis in range(len(shape(node))):
        coupling.same(node, (node, axis), (source, axis))
    if len(shape(node)) > 1:
        coupling.same(node, (node, 1), (slope, 0))


for _operands in (1, 2, 3):
    register(*operators(elementwise=_operands), rule=broadcast)
register(aten.prelu.default, rule=_prelu)
register(torch.ops.l0compile.gate.default, rule=gate)
