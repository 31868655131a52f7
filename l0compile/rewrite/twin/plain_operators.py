"""Replace our own operators by ATen operators."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.fx.experimental.proxy_tensor import make_fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.ops.norm import NORM_FORMULAS
from l0compile.ir.program import Program


def plain_operators(program: Program) -> Program:
    """Replace our own operators by ATen operators, for PyTorch's exporters and for autograd.

    Rewrite: a norm over part of a vector -> its formula in ATen operators.
    Checks: the formula is the operator's own definition; it looks at no size but that of the last axis, so that a trace
        at other sizes is right.
    Returns: the program, itself when it has none of our operators.

    Raises:
        RewriteError: an operator of ours has no formula in ATen operators.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if not str(node.target).startswith("l0compile."):
            continue
        formula = next((found for target, found in NORM_FORMULAS.items() if is_op(node, target)), None)
        if formula is None:
            raise RewriteError(
                f"compact: {node.name}: expected ATen operators, got {node.target}, which has no plain form"
            )
        editor.replace(node, _written_out(editor, node, formula))
    return editor.finish()


def _written_out(editor: Editor, node: fx.Node, formula: Callable[..., Any]) -> fx.Node:
    given = arguments(node)
    operands = {name: arg for name, arg in given.items() if isinstance(arg, fx.Node)}
    plain = {name: arg for name, arg in given.items() if name not in operands}
    samples = [_sample(arg.meta["val"]) for arg in operands.values()]
    traced = make_fx(lambda *tensors: formula(**dict(zip(operands, tensors, strict=True)), **plain))(*samples)
    made = dict(zip(traced.graph.find_nodes(op="placeholder"), operands.values(), strict=True))
    for step in traced.graph.nodes:
        if step.op == "output":
            return made[step.args[0]]
        if step.op != "placeholder":
            args, kwargs = fx.map_arg((step.args, step.kwargs), lambda old: made[old])
            made[step] = editor.call(step.target, args, before=node, origin=node, kwargs=kwargs)
    raise RewriteError(f"compact: {node.name}: the formula of {node.target} returns nothing")


def _sample(value: torch.Tensor) -> torch.Tensor:
    """A small tensor with the last axis of ``value``."""
    return torch.ones([2] * (value.ndim - 1) + [int(value.shape[-1])], dtype=value.dtype)
