"""Write sums and differences without a hidden factor or a swapped order, and gated units in full."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, shape, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten

_SUMS = (aten.add.Tensor, aten.sub.Tensor)
_SWAPPED = (aten.rsub.Tensor, aten.rsub.Scalar)


def plain_arithmetic(program: Program) -> Program:
    """Write sums, differences and gated units in one way, the only one that later passes know.

    Rewrite: add(x, y, alpha=a) -> add(x, mul(y, a)), likewise sub; rsub(x, y, a) -> sub(y, mul(x, a)), or
        add(neg(mul(x, a)), y) where y is a number; glu(x) -> first half * sigmoid(second half).
    Checks: what is multiplied is a number or has the result's dtype, so that it is rounded as before; the axis that a
        gated unit halves has a known size.
    Returns: the program, itself when there is nothing to rewrite.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, *_SUMS) and "alpha" in node.kwargs:
            _sum(editor, node)
        elif is_op(node, *_SWAPPED):
            _swapped(editor, node)
        elif is_op(node, aten.glu.default):
            _gated(editor, node)
    return editor.finish()


def _sum(editor: Editor, node: fx.Node) -> None:
    left, right = node.args[:2]
    scaled = _scaled(editor, node, right, node.kwargs["alpha"])
    if scaled is not None:
        editor.replace(node, editor.call(node.target, (left, scaled), before=node))


def _swapped(editor: Editor, node: fx.Node) -> None:
    given = arguments(node)
    scaled = _scaled(editor, node, given["self"], given["alpha"])
    if scaled is None:
        return
    other = given["other"]
    if tensor(other) is not None:
        editor.replace(node, editor.call(aten.sub.Tensor, (other, scaled), before=node))
    else:
        negative = editor.call(aten.neg.default, (scaled,), before=node)
        editor.replace(node, editor.call(aten.add.Tensor, (negative, other), before=node))


def _gated(editor: Editor, node: fx.Node) -> None:
    given = arguments(node)
    x, axis = given["self"], given["dim"] % len(shape(node))
    half = shape(node)[axis]
    if not is_static(half):
        return
    first, second = (
        editor.call(aten.slice.Tensor, (x, axis, start, start + half), before=node) for start in (0, half)
    )
    gate = editor.call(aten.sigmoid.default, (second,), before=node)
    editor.replace(node, editor.call(aten.mul.Tensor, (first, gate), before=node))


def _scaled(editor: Editor, node: fx.Node, value: Any, factor: Any) -> Any:
    """value * factor; None where that would not round as ``node`` does."""
    if isinstance(factor, (int, float)) and factor == 1:
        return value
    if isinstance(value, (int, float)):
        return value * factor
    operand, result = tensor(value), tensor(node)
    if operand is None or result is None or operand.dtype != result.dtype:
        return None
    return editor.call(aten.mul.Tensor, (value, factor), before=node)
