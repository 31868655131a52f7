"""Recognise GELU written out in elementary operators."""

import math
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_float, is_op
from l0compile.ir.program import Program

aten = torch.ops.aten


def fuse_gelu(program: Program) -> Program:
    """Recognise GELU written in elementary operators.

    Rewrite: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) -> gelu(x, "tanh");
        0.5 x (1 + erf(x / sqrt(2))) -> gelu(x).
        The factors may stand in any order and grouping.
    Checks: numbers agree with those of the formula to one part in a million, which is what float32 keeps of them;
        intermediate results have no other reader.
    Returns: the program, itself when there is no such formula.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = _gelu(node)
        if found is not None:
            x, approximate = found
            options = {"approximate": "tanh"} if approximate else {}
            editor.replace(
                node, editor.call(aten.gelu.default, (x,), before=node, origin=node, kwargs=options)
            )
    return editor.finish()


def _gelu(node: fx.Node) -> tuple[fx.Node, bool] | None:
    """(x, whether it is the tanh form) of a node that is a GELU, else None."""
    if not is_op(node, aten.mul.Tensor) or not is_float(node):
        return None
    number, factors = _product(node)
    if len(factors) != 2 or not _near(number, 0.5):
        return None
    for x, gate in (factors, factors[::-1]):
        inner = _plus(gate, 1.0)
        if inner is None:
            continue
        if is_op(inner, aten.tanh.default) and _is_cubic(inner.args[0], x):
            return x, True
        if is_op(inner, aten.erf.default) and _scaled(inner.args[0], x, math.sqrt(0.5)):
            return x, False
    return None


def _product(node: Any) -> tuple[float, list[fx.Node]]:
    """The number and the other factors of a product; a quotient by a number counts as a product."""
    number = 1.0
    factors: list[fx.Node] = []
    for position, operand in enumerate(node.args[:2]):
        if not isinstance(operand, fx.Node):
            number *= float(operand) if is_op(node, aten.mul.Tensor) else 1.0 / float(operand)
        elif (
            len(operand.users) == 1
            and _is_product(operand)
            and (position == 0 or is_op(node, aten.mul.Tensor))
        ):
            inner, more = _product(operand)
            number, factors = number * inner, factors + more
        else:
            factors.append(operand)
    return number, factors


def _is_product(node: Any) -> bool:
    by_number = is_op(node, aten.div.Tensor) and isinstance(node.args[1], (int, float)) and node.args[1] != 0
    return not getattr(node, "kwargs", None) and (is_op(node, aten.mul.Tensor) or by_number)


def _scaled(node: Any, x: fx.Node, factor: float) -> bool:
    """Whether a node is factor * x."""
    if not _is_product(node):
        return False
    number, factors = _product(node)
    return factors == [x] and _near(number, factor)


def _is_cubic(node: Any, x: fx.Node) -> bool:
    """Whether a node is sqrt(2/pi) (x + 0.044715 x^3)."""
    if not _is_product(node):
        return False
    number, factors = _product(node)
    if len(factors) != 1 or not _near(number, math.sqrt(2 / math.pi)) or not _is_sum(factors[0]):
        return False
    operands = list(factors[0].args)
    if x not in operands:
        return False
    operands.remove(x)
    return _is_cube(operands[0], x)


def _is_cube(node: Any, x: fx.Node) -> bool:
    """Whether a node is 0.044715 x^3."""
    if not _is_product(node):
        return False
    number, factors = _product(node)
    power = len(factors) == 1 and is_op(factors[0], aten.pow.Tensor_Scalar) and factors[0].args == (x, 3)
    return _near(number, 0.044715) and (power or factors == [x, x, x])


def _plus(node: Any, number: float) -> fx.Node | None:
    """y of y + number."""
    if not _is_sum(node):
        return None
    for value, other in (node.args, node.args[::-1]):
        if isinstance(value, fx.Node) and isinstance(other, (int, float)) and other == number:
            return value
    return None


def _is_sum(node: Any) -> bool:
    return is_op(node, aten.add.Tensor) and not node.kwargs and len(node.users) == 1


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) <= 1e-6 * abs(wanted)
