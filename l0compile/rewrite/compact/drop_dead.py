"""Remove operators whose results liveness shows to be constant, unread or neutral."""

import torch
from torch import fx

from l0compile.analysis.liveness import Liveness, analyse
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_float, is_op, same_shape, shape, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten

# operator -> (the constant that leaves the other operand as it is, operand positions where it may stand)
_NEUTRAL = {
    aten.add.Tensor: (0.0, (0, 1)),
    aten.sub.Tensor: (0.0, (1,)),
    aten.mul.Tensor: (1.0, (0, 1)),
    aten.div.Tensor: (1.0, (1,)),
}


def drop_dead(program: Program) -> Program:
    """Remove layers and branches that are constant, unread or neutral.

    Rewrite: a tensor of which every element is known -> its constant, expanded; a tensor of which no element is read
        -> zeros; add(x, 0), sub(x, 0), mul(x, 1), div(x, 1) -> x. So a linear layer of zeros becomes its bias (rule 6),
        and a closed layer leaves the residual, plus its bias if that was not gated (rule 5).
    Checks: liveness proves it; shape and dtype stay the same; symbolic sizes can be read from the inputs.
    Returns: the program, itself when nothing is dead.
    """
    editor = Editor(program)
    liveness = analyse(editor.current())
    # From the end, so that the inputs of a dead node have lost their reader when their turn comes.
    for node in reversed(list(editor.graph.nodes)):
        if node.op == "call_function" and is_float(node) and node.users and not _is_plain(node):
            if liveness.fact(node).fully_known or not bool(liveness.live(node).any()):
                _to_constant(editor, node, liveness)
            else:
                _skip_neutral(editor, node, liveness)
    return editor.finish()


def _is_plain(node: fx.Node) -> bool:
    """Whether ``node`` is a broadcast constant already, the simplest form there is."""
    source = node.args[0] if node.args else None
    return is_op(node, aten.expand.default) and isinstance(source, fx.Node) and source.op == "get_attr"


def _to_constant(editor: Editor, node: fx.Node, liveness: Liveness) -> None:
    fact = liveness.fact(node)
    # Nothing reads the unknown elements; the known ones may be read.
    value = torch.where(fact.known, fact.value, torch.zeros((), dtype=fact.value.dtype))
    sizes = editor.sizes(shape(node))
    if sizes is None:
        return
    while value.ndim and value.shape[0] == 1 and not same_shape(value.shape, shape(node)):
        value = value[0]
    constant = editor.add_constant(f"{node.name}_value", value.to(node.meta["val"].dtype), node)
    if same_shape(value.shape, shape(node)):
        editor.replace(node, constant)
    else:
        editor.replace(node, editor.call(aten.expand.default, (constant, sizes), before=node))


def _skip_neutral(editor: Editor, node: fx.Node, liveness: Liveness) -> None:
    rule = next((rule for target, rule in _NEUTRAL.items() if is_op(node, target)), None)
    if rule is None or node.kwargs:
        return
    neutral, positions = rule
    for position in positions:
        constant, kept = node.args[position], node.args[1 - position]
        if _equals(constant, neutral, liveness) and _same(kept, node):
            assert isinstance(kept, fx.Node)
            editor.replace(node, kept)
            return


def _equals(operand: object, neutral: float, liveness: Liveness) -> bool:
    if isinstance(operand, (int, float)) and not isinstance(operand, bool):
        return operand == neutral
    fact = liveness.facts.get(operand) if isinstance(operand, fx.Node) else None
    return fact is not None and fact.fully_known and bool((fact.value == neutral).all())


def _same(kept: object, node: fx.Node) -> bool:
    value = tensor(kept)
    result = node.meta["val"]
    return value is not None and value.dtype == result.dtype and same_shape(value.shape, result.shape)
