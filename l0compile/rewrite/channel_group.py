"""Which nodes must lose the same channels: linear layers joined by pointwise operators."""

from dataclasses import dataclass, field
from typing import Any

from torch import fx

from l0compile.capture import Editor
from l0compile.capture.nodes import is_op, shape, tensor
from l0compile.liveness.pointwise import POINTWISE
from l0compile.rewrite.surgery import linear_weight, reads_as_input


@dataclass
class ChannelGroup:
    """Tensors whose last axis is one and the same set of channels.

    Attributes:
        width: number of channels.
        members: all tensors of the group.
        producers: linear layers whose rows are the channels.
        consumers: (linear layer, member that it reads): its columns are the channels.
        vectors: (node, argument position) of constants with one entry per channel.
        obstacle: why the channels cannot be removed (the last reason met), or None.
    """

    width: int
    members: dict[fx.Node, None] = field(default_factory=dict)
    producers: dict[fx.Node, None] = field(default_factory=dict)
    consumers: dict[fx.Node, fx.Node] = field(default_factory=dict)
    vectors: list[tuple[fx.Node, int]] = field(default_factory=list)
    obstacle: str | None = None


def channel_group(editor: Editor, start: fx.Node) -> ChannelGroup:
    """The group around one tensor, found by walking both ways; the walk ends at linear layers."""
    group = ChannelGroup(width=shape(start)[-1])
    todo = [start]
    while todo:
        node = todo.pop()
        if node not in group.members:
            group.members[node] = None
            todo += _backward(editor, node, group)
            todo += _forward(editor, node, group)
    return group


def _backward(editor: Editor, node: fx.Node, group: ChannelGroup) -> list[fx.Node]:
    if linear_weight(editor, node) is not None:
        group.producers[node] = None
        return []
    if not is_op(node, *POINTWISE):
        group.obstacle = f"they are made by {_describe(node)} (rules 4 and 7)"
        return []
    sources = []
    for position, operand in enumerate(node.args):
        value = tensor(operand)
        if value is None or value.ndim == 0 or value.shape[-1] == 1:
            continue
        if editor.value(operand) is not None:
            group.vectors.append((node, position))
        else:
            sources.append(operand)
    return sources


def _forward(editor: Editor, node: fx.Node, group: ChannelGroup) -> list[fx.Node]:
    found = []
    for user in node.users:
        if reads_as_input(editor, user, node):
            group.consumers[user] = node
        elif is_op(user, *POINTWISE) and shape(user)[-1] == group.width:
            found.append(user)
        else:
            group.obstacle = f"they are read by {_describe(user)} (rules 4 and 7)"
    return found


def _describe(node: Any) -> str:
    return "an output of the model" if node.op == "output" else f"{node.target} '{node.name}'"
