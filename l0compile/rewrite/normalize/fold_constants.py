"""Compute at compile time what does not depend on the inputs."""

from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op
from l0compile.ir.program import Program

aten = torch.ops.aten

# An operator stays if its value would be larger than this and than all its operands: a position table that is expanded
# over a batch is better expanded at run time.
_LARGEST_GROWTH = 1 << 16


def fold_constants(program: Program) -> Program:
    """Evaluate operators whose operands are constants.

    Rewrite: op(constants) -> constant. Gates on weights vanish here, as do gate values computed from log_alpha. A
        complex constant is stored as pairs of reals under view_as_complex, as capture stores those of the model.
    Checks: the operator is deterministic, and its result has one fixed shape and is not much larger than its operands.
    Returns: the program, itself when nothing was constant.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if _foldable(node, editor):
            operator: Any = node.target
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda arg: _value(arg, editor))
            value = operator(*args, **kwargs)
            if isinstance(value, torch.Tensor) and not _grows(node, value, editor):
                _store(editor, node, value)
    return editor.finish()


def _store(editor: Editor, node: fx.Node, value: torch.Tensor) -> None:
    name = next((str(_stored(arg).target) for arg in node.all_input_nodes), node.name)
    if not value.is_complex():
        editor.replace(node, editor.add_constant(name, value.clone(), node))
        return
    pairs = editor.add_constant(name, torch.view_as_real(value.resolve_conj()).clone(), node)
    editor.replace(node, editor.call(aten.view_as_complex.default, (pairs,), before=node))


def _foldable(node: fx.Node, editor: Editor) -> bool:
    if node.op != "call_function" or not isinstance(node.target, OpOverload) or _stored(node) is not node:
        return False
    if torch.Tag.nondeterministic_seeded in node.target.tags or not isinstance(
        node.meta.get("val"), torch.Tensor
    ):
        return False
    return all(_value(arg, editor) is not None for arg in node.all_input_nodes)


def _value(node: fx.Node, editor: Editor) -> torch.Tensor | None:
    value = editor.value(_stored(node))
    return value if value is None or _stored(node) is node else torch.view_as_complex(value.contiguous())


def _stored(node: fx.Node) -> fx.Node:
    """The constant that holds a complex value as pairs of reals; for any other node, the node itself."""
    source = node.args[0] if is_op(node, aten.view_as_complex.default) else None
    return source if isinstance(source, fx.Node) and source.op == "get_attr" else node


def _grows(node: fx.Node, value: torch.Tensor, editor: Editor) -> bool:
    sizes = [editor.constants[str(_stored(arg).target)].numel() for arg in node.all_input_nodes]
    return value.numel() > max([_LARGEST_GROWTH, *sizes])
