"""Join a norm in float32 with the casts that a model in half precision has around it."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, shape, tensor
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_NARROW = (torch.float16, torch.bfloat16)


def narrow_norms(program: Program) -> Program:
    """Join a norm in float32 with the casts that a model in half precision has around it.

    Rewrite: [scale *] to(rms_norm(to(x, float32), w, eps), half) -> narrow_rms_norm(x, w, scale, eps), likewise of
        compacted_rms_norm.
    Checks: x is float16 or bfloat16, and the result is cast back to its type and read nowhere else; the norm is over
        the last axis, of known size; the weight is float32; a scale is a constant vector of the type of x, and the
        cast's only reader multiplies by it.

    Returns:
        The program, itself when it has none of these.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        given = _norm(node)
        if given is None or len(node.users) != 1:
            continue
        x, weight, *rest = given
        (back,) = node.users
        if _is_cast(back, node, x.meta["val"].dtype):
            target, scale = _scaled(editor, back, shape(x)[-1])
            made = editor.call(
                l0.narrow_rms_norm.default, (x, weight, scale, *rest), before=target, origin=node
            )
            editor.replace(target, made)
    return editor.finish()


def _norm(node: fx.Node) -> tuple[Any, ...] | None:
    """(narrow x, weight, eps, width, removed sum of squares) of a norm in float32 of x."""
    if is_op(node, aten.rms_norm.default):
        given = arguments(node)
        wide, weight, eps = given["input"], given["weight"], given["eps"]
        if len(given["normalized_shape"]) != 1 or not is_static(shape(wide)[-1]):
            return None
        eps = torch.finfo(wide.meta["val"].dtype).eps if eps is None else eps
        rest: tuple[Any, ...] = (eps, int(shape(wide)[-1]), 0.0)
    elif is_op(node, l0.compacted_rms_norm.default):
        wide, weight, *others = node.args
        rest = tuple(others)
    else:
        return None
    source = wide.args[0] if is_op(wide, aten._to_copy.default) else None
    value = tensor(source) if isinstance(source, fx.Node) else None
    if value is None or value.dtype not in _NARROW or not _is_cast(wide, source, torch.float32):
        return None
    if weight is not None and weight.meta["val"].dtype != torch.float32:
        return None
    return source, weight, *rest


def _is_cast(node: fx.Node, source: fx.Node, dtype: torch.dtype) -> bool:
    """Whether a node is ``source`` in another type, and nothing else."""
    value = tensor(node)
    others = {name for name, given in node.kwargs.items() if given is not None} - {"dtype"}
    return (
        is_op(node, aten._to_copy.default)
        and node.args[0] is source
        and not others
        and value is not None
        and value.dtype == dtype
    )


def _scaled(editor: Editor, cast: fx.Node, width: Any) -> tuple[fx.Node, fx.Node | None]:
    """The node to replace, and the scale: the only reader of ``cast`` if that multiplies by a constant vector."""
    if len(cast.users) == 1:
        (user,) = cast.users
        if is_op(user, aten.mul.Tensor) and user.args[0] is not user.args[1]:
            factor = user.args[1] if user.args[0] is cast else user.args[0]
            value = editor.value(factor) if isinstance(factor, fx.Node) else None
            if value is not None and value.dtype == cast.meta["val"].dtype and [*value.shape] == [width]:
                assert isinstance(factor, fx.Node)
                return user, factor
    return cast, None
