"""Recognise RMSNorm written out in elementary operators."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, shape, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten


def fuse_rms_norm(program: Program) -> Program:
    """Recognise RMSNorm written in elementary operators.

    Rewrite: x * rsqrt(mean(x^2) + eps) [* w] -> rms_norm(x, w, eps). The product may be a division by sqrt(...), x^2
        may be pow, square or x * x, operands may stand in either order, and a factor that is a constant vector over the
        last axis becomes the weight. Gemma's norm is one too, since 1 + w has been folded to a constant.
    Checks: float32 throughout (a cast to another type is another function); the mean is over the last axis, kept, of
        known size; eps is a positive number (rms_norm adds it in the same place); the weight has the size of the axis.
    Returns: the program, itself when there is no such norm.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = _normalised(node)
        if found is None:
            continue
        source, eps = found
        width = [shape(node)[-1]]
        target, weight = _weighted(editor, node)
        call = (source, width, weight, eps)
        editor.replace(target, editor.call(aten.rms_norm.default, call, before=target, origin=node))
    return editor.finish()


def _normalised(node: fx.Node) -> tuple[fx.Node, float] | None:
    """(x, eps) of a node that is x * rsqrt(mean(x^2) + eps)."""
    value = tensor(node)
    if value is None or value.dtype != torch.float32 or value.ndim < 1 or not is_static(value.shape[-1]):
        return None
    if is_op(node, aten.div.Tensor):
        pairs = [(node.args[0], node.args[1], aten.sqrt.default)]
    elif is_op(node, aten.mul.Tensor):
        pairs = [(*node.args[:2], aten.rsqrt.default), (*node.args[1::-1], aten.rsqrt.default)]
    else:
        return None
    for source, scale, root in pairs:
        if isinstance(source, fx.Node) and is_op(scale, root):
            eps = _eps_of_mean_square(scale.args[0], source)
            if eps is not None:
                return source, eps
    return None


def _eps_of_mean_square(node: Any, source: fx.Node) -> float | None:
    """eps of a node that is mean(source^2) + eps over the last axis."""
    if not is_op(node, aten.add.Tensor) or node.kwargs:
        return None
    mean, eps = node.args if isinstance(node.args[0], fx.Node) else node.args[::-1]
    if not isinstance(eps, (int, float)) or eps <= 0 or not is_op(mean, aten.mean.dim):
        return None
    given, rank = arguments(mean), len(shape(source))
    if [dim % rank for dim in given["dim"] or ()] != [rank - 1] or not given["keepdim"]:
        return None
    if given["dtype"] not in (None, torch.float32):
        return None
    return float(eps) if _squares(given["self"], source) else None


def _squares(node: Any, source: fx.Node) -> bool:
    if is_op(node, aten.pow.Tensor_Scalar):
        return node.args[0] is source and node.args[1] == 2
    if is_op(node, aten.square.default):
        return node.args[0] is source
    return is_op(node, aten.mul.Tensor) and node.args[0] is source and node.args[1] is source


def _weighted(editor: Editor, node: fx.Node) -> tuple[fx.Node, fx.Node | None]:
    """The node to replace, and the constant factor: the only reader of ``node`` if it multiplies by a weight."""
    if len(node.users) == 1:
        (user,) = node.users
        if is_op(user, aten.mul.Tensor) and user.args[0] is not user.args[1]:
            factor = user.args[1] if user.args[0] is node else user.args[0]
            weight = editor.value(factor)
            if weight is not None and weight.dtype == torch.float32 and weight.shape == shape(node)[-1:]:
                assert isinstance(factor, fx.Node)
                return user, factor
    return node, None
