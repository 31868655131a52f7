"""Write channel shuffles as ``index_select``."""

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.reshaping import axis_groups
from l0compile.analysis.liveness.views import permutation
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, operand_of, same_size, shape
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten


def shuffles_to_selects(program: Program) -> Program:
    """Write a channel shuffle as ``index_select``, so that compaction can remove each channel by itself.

    Rewrite: reshape(permute(reshape(x))), or channel_shuffle(x, groups), -> index_select(x, axis, order);
        a slice of that -> index_select(x, axis, slice of order).
    Checks: the first reshape splits one axis of fixed size and leaves the others, the axes of that split alone change
        places, and the second reshape joins them again.
    Returns: the program, itself when nothing is shuffled.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = _channel_shuffle(node) or _shuffle(node) or _part(editor, node)
        if found is not None:
            x, axis, order = found
            index = editor.add_constant(f"{node.name}_order", order, node)
            editor.replace(node, editor.call(aten.index_select.default, (x, axis, index), before=node))
    return editor.finish()


def _channel_shuffle(node: fx.Node) -> tuple[fx.Node, int, Tensor] | None:
    if not is_op(node, aten.channel_shuffle.default, aten.native_channel_shuffle.default):
        return None
    given = arguments(node)
    x, groups = given["input" if "input" in given else "self"], given["groups"]
    channels = shape(node)[1]
    if not is_static(channels):
        return None
    return x, 1, torch.arange(channels).reshape(groups, -1).t().reshape(-1)


def _part(editor: Editor, node: fx.Node) -> tuple[fx.Node, int, Tensor] | None:
    if not is_op(node, aten.slice.Tensor) or not is_op(node.args[0], aten.index_select.default):
        return None
    given, select = arguments(node), arguments(node.args[0])
    axis, order = given["dim"] % len(shape(node)), editor.value(select["index"])
    bounds = [0 if given["start"] is None else given["start"], given["end"]]
    fixed = all(bound is None or is_static(bound) for bound in (*bounds, given["step"]))
    if order is None or order.ndim != 1 or not fixed or axis != select["dim"] % len(shape(node)):
        return None
    return select["self"], axis, order[bounds[0] : bounds[1] : given["step"]]


def _shuffle(node: fx.Node) -> tuple[fx.Node, int, Tensor] | None:
    if facts_of(node).moves != "reshape" or not is_op(node.args[0], aten.permute.default, aten.transpose.int):
        return None
    moved = operand_of(node)
    split = moved.args[0]
    if facts_of(split).moves != "reshape":
        return None
    assert isinstance(split, fx.Node) and isinstance(split.args[0], fx.Node)
    x, order = split.args[0], permutation(moved)
    taken, joined = _one_to_many(shape(x), shape(split)), _one_to_many(shape(node), shape(moved))
    if taken is None or taken != joined:
        return None
    axis, parts = taken
    inside = range(axis, axis + parts)
    if any(place != old and (place not in inside or old not in inside) for place, old in enumerate(order)):
        return None
    sizes = shape(split)[axis : axis + parts]
    channels = torch.arange(shape(x)[axis]).reshape(sizes)
    return x, axis, channels.permute([order[place] - axis for place in inside]).reshape(-1)


def _one_to_many(one: tuple[object, ...], many: tuple[object, ...]) -> tuple[int, int] | None:
    """(axis, number of parts) where the second shape has one axis of the first in parts of known size, else None."""
    found = None
    for (i, end_i), (j, end_j) in axis_groups(one, many):
        if end_i - i == end_j - j == 1 and same_size(one[i], many[j]):
            continue
        parts = many[j:end_j]
        if found is not None or i != j or end_i - i != 1 or len(parts) < 2 or not all(map(is_static, parts)):
            return None
        found = (i, len(parts))
    return found
