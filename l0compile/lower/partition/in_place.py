"""Finding buffers of the state that a program may update in place, instead of copying them as a whole."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.program import Program

aten = torch.ops.aten

# Only PyTorch raises for an index out of range, and it touches no more rows than there are indices.
_BY_INDEX = {aten.index_copy.default, aten.index_put.default}
_BY_PLACE = {aten.slice_scatter.default, aten.select_scatter.default}
_LARGE = 1 << 18  # bytes; copying a smaller buffer is cheaper than a switch between engines


def writers(program: Program) -> dict[str, str]:
    """Find the operators that may write into the memory of a buffer of the state.

    Such an operator is the only reader of the buffer, so nothing else needs the old values, and it writes only a part.

    Returns:
        Name of the buffer's placeholder -> name of the operator.
    """
    hidden = program.placeholders[len(program.inputs) :]
    found = [(node, _writer(node)) for node in hidden]
    return {node.name: writer.name for node, writer in found if writer is not None}


def writer_of(name: str, program: Program) -> fx.Node | None:
    """Find the operator that may write into the buffer ``name`` of a stage's program."""
    return next((_writer(node) for node in program.placeholders if node.name == name), None)


def _writer(node: fx.Node) -> fx.Node | None:
    users, value = list(node.users), node.meta["val"]
    if len(users) != 1 or not value.ndim:
        return None
    user: fx.Node = users[0]
    args: list[Any] = []
    fx.map_arg((user.args, user.kwargs), args.append)
    if user.op != "call_function" or user.args[:1] != (node,) or args.count(node) != 1:
        return None
    large = value.numel() * value.element_size() >= _LARGE
    return user if user.target in _BY_INDEX or (user.target in _BY_PLACE and large) else None
