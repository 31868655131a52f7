"""Leave out roundings to bfloat16 of what is rounded once more where it is read."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

l0 = torch.ops.l0compile

# Operator -> the operands that it rounds itself.
_ROUND = {
    l0.round_bfloat16.default: ("x",),
    l0.bfloat16_linear.default: ("x",),
    l0.bfloat16_attention.default: ("query", "key", "value"),
}


def merge_roundings(program: Program) -> Program:
    """Round once what is rounded twice, so that a kernel can write the words that the next one reads.

    Rewrite: f(round_bfloat16(x)) -> f(x) for an f that rounds x itself: a layer or attention of bfloat16 numbers, or
        another rounding; also through views, where all that reads them rounds.
    Checks: rounding twice gives what rounding once gives.
    Returns: the program, itself when nothing is rounded twice.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if not is_op(node, l0.round_bfloat16.default):
            continue
        for user in list(node.users):
            if _rounds(user, node) or _only_viewed(user):
                user.replace_input_with(node, node.args[0])
                editor.changed += 1
    return editor.finish()


def _rounds(user: fx.Node, node: Any) -> bool:
    """Whether ``user`` reads ``node`` as operands that it rounds, and as nothing else."""
    if not is_op(user, *_ROUND):
        return False
    names = _ROUND[user.target]
    return not any(value is node for name, value in arguments(user).items() if name not in names)


def _only_viewed(view: fx.Node) -> bool:
    facts = facts_of(view)
    moves = facts.moves in ("reshape", "permute", "part", "repeat") or facts.copies
    return (
        moves and bool(view.users) and all(_rounds(user, view) or _only_viewed(user) for user in view.users)
    )
