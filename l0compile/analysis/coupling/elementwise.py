"""Operators that act on each element: an axis of the result is the same axis of every operand that is not broadcast."""

import torch
from torch import fx

from l0compile.analysis.coupling.axes import Coupling
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.pointwise import POINTWISE
from l0compile.ir.nodes import shape, tensor

aten = torch.ops.aten

_COMPARISONS = "eq ne lt le gt ge"
_MORE = (
    *(getattr(getattr(aten, name), kind) for name in _COMPARISONS.split() for kind in ("Tensor", "Scalar")),
    *(getattr(aten, f"logical_{name}").default for name in ("and", "or", "xor", "not")),
    *(getattr(aten, f"bitwise_{name}").Tensor for name in ("and", "or", "xor")),
    aten.bitwise_not.default,
    aten.where.self,
    aten.where.ScalarOther,
    aten.where.ScalarSelf,
    aten.where.Scalar,
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    aten.addcmul.default,
    aten.addcdiv.default,
    aten.pow.Tensor_Tensor,
    aten.rsub.Scalar,
    aten.lerp.Scalar,
    aten.prelu.default,
    aten.isnan.default,
    aten.isinf.default,
    aten.floor.default,
    aten.ceil.default,
    aten.round.default,
    aten.sign.default,
    aten.to.dtype,
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.full_like.default,
)


def broadcast(node: fx.Node, coupling: Coupling) -> None:
    """Right-aligned axes of the tensor operands and the result."""
    rank = len(shape(node))
    for operand in node.all_input_nodes:
        value = tensor(operand)
        for back in range(1, (value.ndim if value is not None else 0) + 1):
            assert value is not None
            coupling.same(node, (node, rank - back), (operand, value.ndim - back))


def gate(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::gate(x, grid, block)``: the grid has entries of its own, which cover blocks of channels."""
    source, grid = node.args[0], node.args[1]
    assert isinstance(source, fx.Node) and isinstance(grid, fx.Node)
    coupling.pin_all(grid, "they are entries of a gate")
    coupling.pin_all(source, "a gate of blocks reads them")
    coupling.pin_all(node, "a gate of blocks reads them")


def _prelu(node: fx.Node, coupling: Coupling) -> None:
    source, slope = node.args[0], node.args[1]
    assert isinstance(source, fx.Node) and isinstance(slope, fx.Node)
    for axis in range(len(shape(node))):
        coupling.same(node, (node, axis), (source, axis))
    if len(shape(node)) > 1:
        coupling.same(node, (node, 1), (slope, 0))


register(*POINTWISE, *(op for op in _MORE if op is not aten.prelu.default), rule=broadcast)
register(aten.prelu.default, rule=_prelu)
register(torch.ops.l0compile.gate.default, rule=gate)
