"""Views of the result of a linear layer: which axis of a view is which axis of its tokens or features."""

from dataclasses import dataclass
from math import prod

import torch
from torch import fx

from l0compile.ir.nodes import is_op, is_static, shape
from l0compile.ir.operator_facts import facts_of

aten = torch.ops.aten
_RESHAPES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unflatten.int)

# An axis of a view of the layer's result: ("token", i), ("feature", j), or ("one", 0) for an axis of size 1.
ResultAxis = tuple[str, int]


@dataclass(frozen=True)
class ResultView:
    """A view of a layer's result.

    Attributes:
        last: the node that holds it.
        reshape: the reshape that made several axes of the features; None when they still are one axis.
        tokens: number of axes before those of the features.
        grid: sizes of the axes of the features.
        axes: what each axis of ``last`` is.
    """

    last: fx.Node
    reshape: fx.Node | None
    tokens: int
    grid: tuple[int, ...]
    axes: tuple[ResultAxis, ...]


def view_of(node: fx.Node) -> ResultView | None:
    """The last of a chain of views of a layer's result, in which each is the only reader of the one before."""
    tokens, reshape = len(shape(node)) - 1, None
    grid: tuple[int, ...] = (int(shape(node)[-1]),)
    current = node
    user = _only_reader(current)
    if user is not None and is_op(user, *_RESHAPES):
        made = _grid(user, grid[0])
        if made is None:
            return None
        reshape, grid, current = user, made, user
        tokens = len(shape(user)) - len(grid)
        user = _only_reader(current)
    axes: list[ResultAxis] = [("token", i) for i in range(tokens)] + [
        ("feature", j) for j in range(len(grid))
    ]
    while user is not None:
        moved = _moved(user, axes)
        if moved is None:
            break
        axes, current = moved, user
        user = _only_reader(current)
    return ResultView(current, reshape, tokens, grid, tuple(axes))


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _grid(node: fx.Node, features: int) -> tuple[int, ...] | None:
    """The sizes of those last axes of a reshape that are the features; None when features and tokens mix."""
    if (
        is_op(node, aten.unflatten.int)
        and node.args[1] % len(shape(node.args[0])) != len(shape(node.args[0])) - 1
    ):
        return None
    sizes: list[int] = []
    for size in reversed(shape(node)):
        if not is_static(size):
            return None
        sizes.insert(0, int(size))
        if prod(sizes) == features:
            return tuple(sizes)
        if prod(sizes) > features:
            return None
    return None


def _moved(node: fx.Node, axes: list[ResultAxis]) -> list[ResultAxis] | None:
    """The axes after ``node``; None when it does more than move them."""
    rank = len(axes)
    if facts_of(node).copies:
        return axes
    if is_op(node, aten.permute.default):
        return [axes[i] for i in node.args[1]]
    if is_op(node, aten.transpose.int):
        result = list(axes)
        a, b = node.args[1], node.args[2]
        result[a], result[b] = result[b], result[a]
        return result
    if is_op(node, aten.unsqueeze.default):
        at = node.args[1] % (rank + 1)
        return [*axes[:at], ("one", 0), *axes[at:]]
    if is_op(node, aten.squeeze.dim, aten.squeeze.dims):
        dims = node.args[1] if isinstance(node.args[1], (list, tuple)) else [node.args[1]]
        gone = {dim % rank for dim in dims}
        if any(axes[dim][0] != "one" for dim in gone):
            return None
        return [axis for i, axis in enumerate(axes) if i not in gone]
    return None
