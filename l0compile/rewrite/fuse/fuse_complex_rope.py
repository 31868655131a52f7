"""Recognise rotary position embedding that multiplies neighbouring features, as complex numbers, by a table."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, same_shape, same_size, shape, tensor
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_rope import factors

aten = torch.ops.aten


@dataclass(frozen=True)
class _Turn:
    """x [B, S, H, D/2, 2], or [B, H, S, D/2, 2]: ``heads`` is the axis of H. cos, sin: as wide as D/2."""

    x: fx.Node
    cos: fx.Node
    sin: fx.Node
    heads: int


def fuse_complex_rope(program: Program) -> Program:
    """Recognise rotary position embedding that is written with complex numbers.

    Rewrite: stack([a cos - b sin, a sin + b cos], -1) with a = x[..., 0], b = x[..., 1] -> l0compile::rope:
        x [B, S, H, D/2, 2] with tables [B or 1, S, 1, D/2], or x [B, H, S, D/2, 2] with tables [B or 1, 1, S, D/2]
        -> unflatten(rope(flatten(x), cos, sin, H, interleaved=True)), with transposes around it in the second case.
        The heads lie side by side, as a linear layer makes them; canonicalizing cancels the reshapes and transposes
        against those of the model.
    Checks: float32, H and D are numbers; a and b are the parts of the same x, and each product is there in this order
        and with this sign; cos and sin are the same for all heads and have the batch of x or 1.
    Returns: the program, itself when there is no such embedding.
    """
    editor = Editor(program)
    tables: dict[tuple[fx.Node, int], fx.Node] = {}
    for node in list(editor.graph.nodes):
        turn = _turn(node)
        if turn is not None:
            for table in (turn.cos, turn.sin):
                if (table, turn.heads) not in tables:  # the first reader comes before the others
                    tables[table, turn.heads] = _without_heads(editor, node, table, turn.heads)
            editor.replace(
                node, _fused(editor, node, turn, [tables[t, turn.heads] for t in (turn.cos, turn.sin)])
            )
    return editor.finish()


def _fused(editor: Editor, node: fx.Node, turn: _Turn, tables: list[fx.Node]) -> fx.Node:
    def call(target: Any, *args: Any) -> fx.Node:
        return editor.call(target, args, before=node, origin=node)

    count, half = shape(turn.x)[turn.heads], shape(turn.x)[3]
    x = _as_heads(turn.x)
    x = call(aten.flatten.using_ints, turn.x, 3, 4) if x is None else x
    x = x if turn.heads == 2 else call(aten.transpose.int, x, 1, 2)
    joined = call(aten.flatten.using_ints, x, 2, 3)
    turned = call(torch.ops.l0compile.rope.default, joined, *tables, count, True)
    apart = call(aten.unflatten.int, turned, -1, [count, 2 * half])
    apart = apart if turn.heads == 2 else call(aten.transpose.int, apart, 1, 2)
    return call(aten.unflatten.int, apart, -1, [half, 2])


def _as_heads(x: fx.Node) -> fx.Node | None:
    """The tensor [.., D] that x [.., D/2, 2] is a view of; None when it is not such a view."""
    source = x.args[0] if is_op(x, aten.reshape.default, aten.unflatten.int) else None
    whole = (*shape(x)[:3], 2 * shape(x)[3])
    return source if isinstance(source, fx.Node) and same_shape(shape(source), whole) else None


def _without_heads(editor: Editor, node: fx.Node, table: fx.Node, heads: int) -> fx.Node:
    """The table [B or 1, S, D/2] without the axis along which it is broadcast over heads."""
    for _ in range(4 - len(shape(table))):
        table = editor.call(aten.unsqueeze.default, (table, 0), before=node)
    return editor.call(aten.squeeze.dim, (table, heads), before=node)


def _turn(node: fx.Node) -> _Turn | None:
    value = tensor(node)
    if (
        not is_op(node, aten.stack.default)
        or value is None
        or value.ndim != 5
        or value.dtype != torch.float32
    ):
        return None
    if arguments(node)["dim"] not in (-1, 4) or len(node.args[0]) != 2:
        return None
    real, imag = node.args[0]
    if not is_op(real, aten.sub.Tensor) or not is_op(imag, aten.add.Tensor) or real.kwargs or imag.kwargs:
        return None
    for a, cos in factors(real.args[0]):
        for b, sin in factors(real.args[1]):
            x = _whole(a, b)
            if (
                x is not None
                and same_shape(shape(x), value.shape)
                and _are(imag.args[:2], (a, sin), (b, cos))
            ):
                return next((found for heads in (2, 1) if (found := _fitting(x, cos, sin, heads))), None)
    return None


def _are(summands: Any, *products: tuple[Any, Any]) -> bool:
    """Whether the two summands are these products, in either order."""
    orders = (summands, summands[::-1])
    return any(
        all(want in factors(got) for want, got in zip(products, order, strict=True)) for order in orders
    )


def _whole(a: fx.Node, b: fx.Node) -> fx.Node | None:
    """x of x[..., 0] and x[..., 1]."""
    if not is_op(a, aten.select.int) or not is_op(b, aten.select.int) or a.args[0] is not b.args[0]:
        return None
    x: Any = a.args[0]
    last = len(shape(x)) - 1
    parts = [(node.args[1] % (last + 1), node.args[2]) for node in (a, b)]
    return x if parts == [(last, 0), (last, 1)] else None


def _fitting(x: fx.Node, cos: fx.Node, sin: fx.Node, heads: int) -> _Turn | None:
    """The rotation, if ``heads`` can be the axis of the heads in x; None when the tables do not fit that."""
    sizes = shape(x)
    if not is_static(sizes[heads]) or not is_static(sizes[3]):
        return None
    for table in (cos, sin):
        value = tensor(table)
        if value is None or value.dtype != torch.float32 or not 3 <= value.ndim <= 4:
            return None
        own: list[Any] = [1] * (4 - value.ndim) + list(value.shape)
        batch = same_size(own[0], 1) or same_size(own[0], sizes[0])
        if (
            not batch
            or own[heads] != 1
            or not same_size(own[3 - heads], sizes[3 - heads])
            or own[3] != sizes[3]
        ):
            return None
    return _Turn(x, cos, sin, heads)
