"""Common subexpression elimination: compute once what is computed twice."""

from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.editor import Editor
from l0compile.ir.program import Program


def cse(program: Program) -> Program:
    """Compute equal operators on equal operands once.

    Rewrite: f(x), ..., f(x) -> f(x). Models make masks and tables of positions again in every layer; from here on the
        layers share them.
    Checks: same operator, operands and options; the operator is not random. (No operator of a program has side
        effects.)
    Returns: the program, itself when nothing is computed twice.
    """
    editor = Editor(program)
    seen: dict[tuple[Any, ...], fx.Node] = {}
    for node in list(editor.graph.nodes):
        if node.op not in ("call_function", "get_attr") or _is_random(node):
            continue
        # Nodes print as their names, which are unique.
        key = (node.op, node.target, repr(node.args), repr(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            editor.replace(node, first)
    return editor.finish()


def _is_random(node: fx.Node) -> bool:
    return isinstance(node.target, OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
