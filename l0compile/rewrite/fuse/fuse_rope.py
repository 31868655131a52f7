"""Recognise rotary position embedding on [batch, head, token, feature] tensors."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, same_shape, same_size, shape, slice_bounds, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten
_NARROW = (torch.float16, torch.bfloat16)


def fuse_rope(program: Program, narrow: bool = False) -> Program:
    """Recognise rotary position embedding on [batch, head, token, feature] tensors.

    Rewrite: x * cos + cat([-x[..., D/2:], x[..., :D/2]]) * sin -> l0compile::rope: x [B, H, S, D], cos and sin
        [B or 1, 1, S, D] -> transpose(unflatten(rope(flatten(transpose(x, 1, 2)), cos, sin, H)), 1, 2). The heads lie
        side by side, as a linear layer makes them; canonicalizing cancels the reshapes and transposes against those of
        the model.
    Checks: float32, H and D are numbers, D is even, the two halves are those of the same x, in this order and with this
        sign; cos and sin are the same for all heads and have the batch of x or 1.

    Args:
        program: normalized.
        narrow: in place of float32, float16 or bfloat16, of all operands.

    Returns:
        The program, itself when there is no such embedding.
    """
    editor, types = Editor(program), _NARROW if narrow else (torch.float32,)
    tables: dict[fx.Node, fx.Node] = {}
    for node in list(editor.graph.nodes):
        found = _operands(node, types)
        if found is not None:
            x, *pair = found
            for table in pair:
                if table not in tables:  # the first reader comes before the others
                    tables[table] = editor.call(aten.squeeze.dim, (table, 1), before=node)
            editor.replace(node, _fused(editor, node, x, [tables[table] for table in pair]))
    return editor.finish()


def _fused(editor: Editor, node: fx.Node, x: fx.Node, tables: list[fx.Node]) -> fx.Node:
    heads, width = shape(x)[1], shape(x)[3]

    def call(target: Any, *args: Any) -> fx.Node:
        return editor.call(target, args, before=node, origin=node)

    joined = call(aten.flatten.using_ints, call(aten.transpose.int, x, 1, 2), 2, 3)
    turned = call(torch.ops.l0compile.rope.default, joined, *tables, heads)
    return call(aten.transpose.int, call(aten.unflatten.int, turned, -1, [heads, width]), 1, 2)


def _operands(node: fx.Node, types: tuple[torch.dtype, ...]) -> tuple[fx.Node, fx.Node, fx.Node] | None:
    """(x, cos, sin) of a node that is x * cos + rotate_half(x) * sin."""
    value = tensor(node)
    if not is_op(node, aten.add.Tensor) or node.kwargs or value is None or value.ndim != 4:
        return None
    if value.dtype not in types or not is_static(value.shape[1]) or not is_static(value.shape[3]):
        return None
    for straight, turned in (node.args[:2], node.args[1::-1]):
        for half, sin in factors(turned):
            x = _rotated(half)
            if x is None or not same_shape(shape(x), value.shape):
                continue
            for other, cos in factors(straight):
                if other is x and _is_table(cos, x) and _is_table(sin, x):
                    return x, cos, sin
    return None


def factors(node: Any) -> list[tuple[Any, Any]]:
    """The operands of a product, in both orders."""
    if not is_op(node, aten.mul.Tensor) or not all(isinstance(arg, fx.Node) for arg in node.args[:2]):
        return []
    return [(node.args[0], node.args[1]), (node.args[1], node.args[0])]


def _rotated(node: Any) -> fx.Node | None:
    """x of cat([-x[..., D/2:], x[..., :D/2]], -1)."""
    if not is_op(node, aten.cat.default) or len(node.args[0]) != 2:
        return None
    negated, low = node.args[0]
    if arguments(node)["dim"] % 4 != 3 or not is_op(negated, aten.neg.default):
        return None
    high, width = negated.args[0], int(shape(node)[3])
    first, second = _half(low), _half(high)
    if first is None or second is None or first[0] is not second[0] or width % 2:
        return None
    return first[0] if (first[1], second[1]) == (0, width // 2) and shape(first[0])[3] == width else None


def _half(node: Any) -> tuple[fx.Node, int] | None:
    """(x, start) of a slice of x along the last axis."""
    if not is_op(node, aten.slice.Tensor):
        return None
    bounds, x = slice_bounds(node), node.args[0]
    if bounds is None or bounds[0] != 3 or bounds[3] != 1:
        return None
    _, start, stop, _ = bounds
    return (x, start) if (stop - start) * 2 == shape(x)[3] else None


def _is_table(node: fx.Node, x: fx.Node) -> bool:
    value = tensor(node)
    if value is None or value.dtype != x.meta["val"].dtype or value.ndim != 4:
        return False
    batch, heads, *rest = value.shape
    return (
        heads == 1
        and same_shape(rest, shape(x)[2:])
        and (same_size(batch, 1) or same_size(batch, shape(x)[0]))
    )
