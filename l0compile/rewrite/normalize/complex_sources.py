"""Operators that make complex tensors of real ones, as operators on pairs of reals."""

from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.nodes import arguments, operand_of, tensor
from l0compile.rewrite.normalize.complex_arithmetic import (
    REAL,
    ComplexParts,
    ComplexRule,
    Writer,
    is_complex,
    multiply,
)

aten = torch.ops.aten


def _halves(out: Writer, node: fx.Node) -> ComplexParts:
    return ComplexParts(*(out.call(aten.select.int, operand_of(node), -1, part) for part in (0, 1)))


def _halves_of_last(out: Writer, node: fx.Node) -> ComplexParts:
    both = out.call(aten.unflatten.int, operand_of(node), -1, [-1, 2])
    return ComplexParts(*(out.call(aten.select.int, both, -1, part) for part in (0, 1)))


def _from_parts(out: Writer, node: fx.Node) -> ComplexParts:
    given = arguments(node)
    return ComplexParts(given["real"], given["imag"])


def _polar(out: Writer, node: fx.Node) -> ComplexParts:
    size, angle = arguments(node)["abs"], arguments(node)["angle"]
    turns = (out.call(function, angle) for function in (aten.cos.default, aten.sin.default))
    return ComplexParts(*(out.call(aten.mul.Tensor, size, turn) for turn in turns))


def _real_only(out: Writer, node: fx.Node) -> ComplexParts:
    real = out.parts(operand_of(node))[0]
    return ComplexParts(real, out.call(aten.zeros_like.default, real))


def _as_input(out: Writer, node: fx.Node) -> ComplexParts:
    both = out.call(aten.view_as_real.default, node)
    return ComplexParts(*(out.call(aten.select.int, both, -1, part) for part in (0, 1)))


def _has_real_tensor(node: fx.Node) -> bool:
    return any(isinstance(arg, fx.Node) for arg in node.args[:2])


def _own_type(node: fx.Node) -> bool:
    value = tensor(operand_of(node))
    return value is not None and REAL.get(node.meta["val"].dtype) == value.dtype and value.ndim > 0


SOURCES: dict[Any, ComplexRule] = {
    aten.view_as_complex.default: ComplexRule(_halves),
    aten.view.dtype: ComplexRule(_halves_of_last, _own_type),
    aten.complex.default: ComplexRule(_from_parts),
    aten.polar.default: ComplexRule(_polar),
    aten._to_copy.default: ComplexRule(_real_only),
    aten.to.dtype: ComplexRule(_real_only),
    aten.mul.Tensor: ComplexRule(multiply, _has_real_tensor),
}
"""Operators that make complex tensors of real ones."""


def source_rule(node: fx.Node) -> ComplexRule | None:
    """How a complex value that comes from no other one is taken apart; None where it has to stay."""
    if node.meta["val"].dtype not in REAL or any(map(is_complex, node.all_input_nodes)):
        return None
    if node.op == "placeholder":
        return ComplexRule(_as_input)
    rule = SOURCES.get(node.target) if isinstance(node.target, OpOverload) else None
    return rule if rule is not None and rule.accepts(node) else None
