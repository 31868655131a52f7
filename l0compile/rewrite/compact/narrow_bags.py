"""Add up neighbours where their vectors are narrower, before or after a linear layer."""

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op, same_size, shape
from l0compile.ir.program import Program
from l0compile.rewrite.linear_layers import linear_weight

aten, bag = torch.ops.aten, torch.ops.l0compile.bag.default


def narrow_bags(program: Program) -> Program:
    """Add up neighbours where their vectors are narrower, before or after a linear layer.

    Rewrite: linear(bag(x), W, b) -> bag(linear(x, W)) + b where W has fewer rows than columns;
        bag(linear(x, W)) -> linear(bag(x), W) where it has more. Both sides are linear in x, so they differ by
        rounding alone. How wide layers are depends on what compaction left, so the model can't choose this itself.
    Checks: W is a constant; nothing else reads what goes; a layer before a bag has no bias (how many rows a bag has
        is not known); there are as many bags as rows, so that the layer has no more to do.
    Returns: the program, itself when every bag is where it should be.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.linear.default):
            _project_first(editor, node)
        elif is_op(node, bag):
            _project_last(editor, node)
    return editor.finish()


def _project_first(editor: Editor, node: fx.Node) -> None:
    found, inner = linear_weight(editor, node), node.args[0]
    if found is None or not isinstance(inner, fx.Node) or not is_op(inner, bag) or len(inner.users) > 1:
        return
    weight, bias = found
    x, *rest = inner.args
    if weight.shape[0] >= weight.shape[1] or not _as_many(x, inner):
        return
    projected = editor.call(aten.linear.default, (x, node.args[1]), before=node, origin=node)
    result = editor.call(bag, (projected, *rest), before=node, origin=inner)
    if bias is not None:
        result = editor.call(aten.add.Tensor, (result, (*node.args, None)[2]), before=node, origin=node)
    editor.replace(node, result)


def _project_last(editor: Editor, node: fx.Node) -> None:
    inner, *rest = node.args
    found = linear_weight(editor, inner)
    if found is None or not isinstance(inner, fx.Node) or len(inner.users) > 1:
        return
    weight, bias = found
    if bias is not None or weight.shape[0] <= weight.shape[1] or not _as_many(inner, node):
        return
    summed = editor.call(bag, (inner.args[0], *rest), before=node, origin=node)
    editor.replace(node, editor.call(aten.linear.default, (summed, inner.args[1]), before=node, origin=inner))


def _as_many(x: object, node: fx.Node) -> bool:
    """Whether there are as many bags as rows of ``x`` [rows, features]."""
    return isinstance(x, fx.Node) and len(shape(x)) == 2 and same_size(shape(x)[0], shape(node)[0])
