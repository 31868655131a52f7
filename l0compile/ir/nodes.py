"""Questions that analyses and passes ask about one node."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.integral_sizes import integral


def is_op(node: Any, *targets: OpOverload) -> bool:
    """Whether ``node`` calls one of the given operators."""
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target in targets


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operator node by schema name, defaults filled in."""
    assert isinstance(node.target, OpOverload)
    result: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            result[argument.name] = node.args[position]
        else:
            result[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return result


def operand_of(node: fx.Node, position: int = 0) -> fx.Node:
    """An operand, by position, that is always a node."""
    found = node.args[position]
    assert isinstance(found, fx.Node)
    return found


def per_axis(value: Any, count: int) -> list[Any]:
    """A setting of ``count`` axes of positions, such as a stride, that may be given once for all of them."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * count if len(values) == 1 else values


def set_argument(node: fx.Node, name: str, value: Any) -> None:
    """Set an argument of an operator node by its name in the schema; defaults fill what lies before it."""
    schema = node.target._schema.arguments
    position = next(i for i, argument in enumerate(schema) if argument.name == name)
    missing = [argument.default_value for argument in schema[len(node.args) : position + 1]]
    node.args = (*node.args, *missing)
    node.kwargs = {key: given for key, given in node.kwargs.items() if key != name}
    node.update_arg(position, value)


def tensor(node: Any) -> torch.Tensor | None:
    """The (fake) tensor that a node stands for; None for a size, a list, or what is no node."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value if isinstance(value, torch.Tensor) else None


def shape(node: fx.Node) -> tuple[Any, ...]:
    """The sizes of a tensor node: ints, or SymInts where symbolic."""
    return tuple(node.meta["val"].shape)


def is_float(node: Any) -> bool:
    """Whether a node stands for a tensor of a real floating dtype."""
    value = tensor(node)
    return value is not None and value.dtype.is_floating_point


def example_size(size: Any) -> int:
    """The size in the example that the model was traced with; 1 where it depends on values."""
    if isinstance(size, int):
        return size
    return int(size.node.hint) if size.node.has_hint() else 1


def is_static(size: Any) -> bool:
    """Whether a size is a number and not a symbol."""
    return isinstance(size, int)


def expression(size: Any) -> Any:
    """A size as a value that compares without adding a guard: an int, or a sympy expression, integral if possible."""
    return size if isinstance(size, int) else integral(size.node.expr)


def same_size(left: Any, right: Any) -> bool:
    """Whether two sizes are provably equal; False where that is unknown, because no guard is added."""
    return bool(expression(left) == expression(right))


def same_shape(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two shapes are provably equal."""
    return len(left) == len(right) and all(map(same_size, left, right))


def is_empty_part(part: fx.Node, joined: fx.Node) -> bool:
    """Whether ``part`` adds nothing to the concatenation ``joined``.

    It then has size 0 along that axis, or is an empty tensor of rank 1, which may stand among tensors of any rank.
    """
    own, rank = shape(part), len(shape(joined))
    if len(own) != rank:
        return True
    size = own[int(arguments(joined)["dim"]) % rank]
    return is_static(size) and int(size) == 0


def slice_bounds(node: fx.Node) -> tuple[int, int, int, int] | None:
    """(axis, start, end, step) of a slice, clipped to the axis; None where a bound is symbolic."""
    given = arguments(node)
    axis = int(given["dim"]) % len(shape(node))
    size, start, end = shape(given["self"])[axis], given["start"] or 0, given["end"]
    if not is_static(size) or not is_static(start) or not (end is None or is_static(end)):
        return None
    return axis, *slice(start, end, given["step"]).indices(size)


def region_name(node: fx.Node) -> str:
    """The path of the user's module that made this node; the name of the node where there is none."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if entry[0]]
    return str(paths[-1]) if paths else node.name


def follower(node: fx.Node) -> fx.Node:
    """The node to insert before so that a new node follows ``node`` (and, for an input, all inputs)."""
    following = node.next
    while following.op == "placeholder":
        following = following.next
    return following
