"""Matrix products of two computed tensors in the form that a kernel takes."""

from math import prod
from typing import Any

import torch
from torch import fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import example_size, is_op, is_static, same_shape, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program
from l0compile.rewrite.size_nodes import SizeNodes

aten, l0 = torch.ops.aten, torch.ops.l0compile

# A kernel computes blocks of four rows; below some work, loops that TVM fuses with their neighbours are as quick.
_LEAST_ROWS, _LEAST_WORK = 4, 1 << 15


def batched_products(program: Program) -> Program:
    """Bring matrix products of two computed tensors into the form that a kernel takes.

    Rewrite: matmul(a, b), mm(a, b), bmm(a, b) -> reshape(product(a', b')) with one batch axis; product(a, transpose(b))
        reads b as it lies.
    Checks: float32, two axes at least; batches are equal or one is not there, or both are expanded to that of the
        result; four rows and 2^15 multiplications at least.
    Returns: the program, itself when there is nothing to do.
    """
    editor = Editor(program)
    sizes = SizeNodes(editor)
    for node in list(editor.graph.nodes):
        if facts_of(node).matrix_product and _fits(node):
            try:
                _rewrite(editor, sizes, node)
            except RewriteError:  # a size that no input tells
                continue
    return editor.finish()


def _fits(node: fx.Node) -> bool:
    operands = [tensor(argument) for argument in node.args[:2]]
    if any(value is None or value.ndim < 2 or value.dtype != torch.float32 for value in operands):
        return False
    left, right = (shape(argument) for argument in node.args[:2])
    work = [example_size(size) for size in (*shape(node), left[-1])]
    rows = left[-2] if len(right) > 2 or len(left) == 2 else prod(map(example_size, left[:-1]))
    return min(work) > 0 and example_size(rows) >= _LEAST_ROWS and prod(work) >= _LEAST_WORK


def _rewrite(editor: Editor, sizes: SizeNodes, node: fx.Node) -> None:
    left, right = node.args[:2]
    assert isinstance(left, fx.Node) and isinstance(right, fx.Node)
    source = _untransposed(right)
    turned = source is not None
    other = source if source is not None else right
    whole, rank = shape(node), len(shape(node))
    batch = whole[:-2]
    axes = _batch(shape(left)), _batch(shape(right))
    if not axes[1]:  # all rows by one matrix
        rows = [1, sizes.of(prod(whole[:-1])), sizes.of(shape(left)[-1])]
        operands = [_reshaped(editor, left, rows, node), _of_one(editor, other, node)]
    elif not axes[0]:
        operands = [_of_one(editor, left, node), _flat(editor, sizes, other, batch, node)]
    else:
        operands = [_flat(editor, sizes, operand, batch, node) for operand in (left, other)]
    made = editor.call(l0.product.default, (*operands, turned), before=node, origin=node)
    if rank != 3 or not axes[1]:
        made = editor.call(aten.reshape.default, (made, sizes.shape(whole)), before=node)
    editor.replace(node, made)


def _batch(whole: tuple[Any, ...]) -> tuple[Any, ...]:
    """The batch axes; none where all are of size 1."""
    batch = whole[:-2]
    return () if all(is_static(size) and size == 1 for size in batch) else batch


def _flat(
    editor: Editor, sizes: SizeNodes, operand: fx.Node, batch: tuple[Any, ...], node: fx.Node
) -> fx.Node:
    """[B, rows, columns] for the batch of the result."""
    own = shape(operand)
    if len(own) == 3 and same_shape(own[:1], batch):
        return operand
    if not same_shape(own[:-2], batch):
        operand = editor.call(aten.expand.default, (operand, sizes.shape([*batch, *own[-2:]])), before=node)
    return _reshaped(editor, operand, [sizes.of(prod(batch)), *sizes.shape(own[-2:])], node)


def _of_one(editor: Editor, operand: fx.Node, node: fx.Node) -> fx.Node:
    """[1, rows, columns] of an operand that is the same for the whole batch."""
    rank = len(shape(operand))
    if rank == 2:
        return editor.call(aten.unsqueeze.default, (operand, 0), before=node)
    return operand if rank == 3 else editor.call(aten.flatten.using_ints, (operand, 0, rank - 3), before=node)


def _reshaped(editor: Editor, operand: fx.Node, wanted: list[Any], node: fx.Node) -> fx.Node:
    return editor.call(aten.reshape.default, (operand, wanted), before=node)


def _untransposed(node: fx.Node) -> fx.Node | None:
    """x of a transposition of the last two axes of x."""
    rank = len(shape(node))
    if is_op(node, aten.transpose.int):
        turned = sorted(int(axis) % rank for axis in node.args[1:]) == [rank - 2, rank - 1]
    elif is_op(node, aten.permute.default):
        order = [axis % rank for axis in node.args[1]]
        turned = order == [*range(rank - 2), rank - 1, rank - 2]
    else:
        turned = is_op(node, aten.t.default)
    source = node.args[0] if turned else None
    return source if isinstance(source, fx.Node) and len(shape(source)) == rank else None
