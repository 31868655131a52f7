"""Compute now what does not depend on the inputs."""

from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.capture import Editor, Program

# A folded value larger than this and than everything it was computed from stays an operator: a position table
# expanded over a batch is better expanded when it runs.
_LARGEST_GROWTH = 1 << 16


def fold_constants(program: Program) -> Program:
    """Evaluate operators on constants.

    Rewrite: op(constants) -> constant. Gates on weights vanish here, as do gate values computed from log_alpha.
    Checks: the operator is deterministic, and its result has one fixed shape and is not much larger than its operands.
    Returns: the program, itself when nothing was constant.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if _foldable(node, editor):
            operator: Any = node.target
            value = operator(*fx.map_arg(node.args, editor.value), **fx.map_arg(node.kwargs, editor.value))
            if isinstance(value, torch.Tensor) and not _grows(node, value, editor):
                name = next((str(arg.target) for arg in node.all_input_nodes), node.name)
                editor.replace(node, editor.add_constant(name, value.clone(), node))
    return editor.finish()


def _foldable(node: fx.Node, editor: Editor) -> bool:
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded in node.target.tags or not isinstance(
        node.meta.get("val"), torch.Tensor
    ):
        return False
    return all(editor.value(arg) is not None for arg in node.all_input_nodes)


def _grows(node: fx.Node, value: torch.Tensor, editor: Editor) -> bool:
    sizes = [editor.constants[str(arg.target)].numel() for arg in node.all_input_nodes]
    return value.numel() > max([_LARGEST_GROWTH, *sizes])
