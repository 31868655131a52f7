"""Where a program writes a few rows into a buffer of its state, which then need not be copied as a whole."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.program import Program

aten = torch.ops.aten

# An index past the end must raise, which only PyTorch sees to; and it looks at no more rows than there are indices.
_BY_INDEX = {aten.index_copy.default, aten.index_put.default}
_BY_PLACE = {aten.slice_scatter.default, aten.select_scatter.default}
_LARGE = 1 << 18  # bytes: a smaller buffer is copied sooner than two engines take turns


def writers(program: Program) -> dict[str, str]:
    """Name of a state's placeholder -> that of the operator that may write into its memory.

    It is the placeholder's only reader, so that nothing needs the old values, and it writes only a part.
    """
    hidden = program.placeholders[len(program.inputs) :]
    found = [(node, _writer(node)) for node in hidden]
    return {node.name: writer.name for node, writer in found if writer is not None}


def writer_of(name: str, program: Program) -> fx.Node | None:
    """The same for one placeholder of a stage's program."""
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
