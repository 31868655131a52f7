"""Replace operators with several results by slices."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, operand_of, shape
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten


def splits_to_slices(program: Program) -> Program:
    """Replace operators with several results by slices and selections with one each.

    Rewrite: split(x, ...)[i] -> slice(x, dim, start_i, end_i); unbind(x, dim)[i] -> select(x, dim, i).
    Checks: the sizes of all parts are numbers.
    Returns: the program, itself when nothing is split.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if facts_of(node).splits:
            for user, start, end in list(_parts(node)):
                dim = int(arguments(node).get("dim", 0))
                _replace(editor, user, aten.slice.Tensor, (node.args[0], dim, start, end))
        elif is_op(node, aten.unbind.int):
            for user in list(node.users):
                if user.target is operator.getitem:
                    dim = int(arguments(node)["dim"])
                    _replace(editor, user, aten.select.int, (node.args[0], dim, user.args[1]))
    return editor.finish()


def _parts(node: fx.Node) -> Iterator[tuple[fx.Node, int, int]]:
    source = operand_of(node)
    dim = int(arguments(node).get("dim", 0)) % len(shape(source))
    values = node.meta["val"]
    sizes = [value.shape[dim] for value in values]
    if not all(map(is_static, sizes)):
        return
    for user in node.users:
        if user.target is operator.getitem:
            index = int(user.args[1]) % len(sizes)
            start = sum(sizes[:index])
            yield user, start, start + sizes[index]


def _replace(editor: Editor, user: fx.Node, target: Any, args: tuple[Any, ...]) -> None:
    created = editor.call(target, args, before=user, origin=user)
    created.meta["val"] = user.meta["val"]
    editor.replace(user, created)
