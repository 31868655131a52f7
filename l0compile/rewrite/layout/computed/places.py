"""Choosing and sorting along a row, in the form that a kernel takes."""

import operator
from typing import Any

import torch
from torch import fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, tensor
from l0compile.ir.ops.computed.top_places import LARGEST_ROW, MOST_ORDERED
from l0compile.ir.program import Program
from l0compile.rewrite.size_nodes import SizeNodes

aten, l0 = torch.ops.aten, torch.ops.l0compile

_SORTS = (aten.sort.default, aten.sort.stable, aten.argsort.default, aten.argsort.stable)
_ARGSORTS = _SORTS[2:]
# Of more, others than PyTorch takes may be among equal ones.
_LARGEST_TOPK = 8


def places_of_the_best(program: Program) -> Program:
    """Choose and sort along a row by the places of the best numbers, which a kernel finds.

    Rewrite: topk(x, k) -> p = top_places(x, k), and gather(x, p) for the numbers; sort(x) and argsort(x) likewise, with
        as many places as numbers. Of equal numbers the first come first, which is one of the orders that PyTorch
        allows.
    Checks: along the last axis, of float32 or int32; sizes along it are numbers, 2^16 or fewer, 2^11 to sort and 8 to
        choose: of more, equal ones are no rarity.
    Returns: the program, itself when there is nothing to do.
    """
    editor = Editor(program)
    sizes = SizeNodes(editor)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.topk.default, *_SORTS):
            try:
                _rewrite(editor, sizes, node)
            except RewriteError:  # a size that no input tells
                continue
    return editor.finish()


def _rewrite(editor: Editor, sizes: SizeNodes, node: fx.Node) -> None:
    given: dict[str, Any] = arguments(node)
    x = tensor(given["self"])
    if (
        x is None
        or not x.ndim
        or x.dtype not in (torch.float32, torch.int32)
        or given["dim"] % x.ndim != x.ndim - 1
    ):
        return
    width, chosen = x.shape[-1], is_op(node, aten.topk.default)
    count = given["k"] if chosen else width
    largest, ordered = (given["largest"], given["sorted"]) if chosen else (given["descending"], True)
    items = is_op(node, *_ARGSORTS) or all(map(_is_item, node.users))
    known = is_static(width) and is_static(count) and 0 < count <= width <= LARGEST_ROW
    if not known or not items or count > (_LARGEST_TOPK if chosen else MOST_ORDERED):
        return
    rows = [1 if x.ndim == 1 else sizes.of(_product(x.shape[:-1])), width]
    result = sizes.shape([*x.shape[:-1], count])
    flat = editor.call(aten.reshape.default, (given["self"], rows), before=node)
    args = (flat, count, bool(largest), bool(ordered))
    found = editor.call(l0.top_places.default, args, before=node, origin=node)
    places = editor.call(aten.reshape.default, (found, result), before=node)
    if is_op(node, *_ARGSORTS):
        editor.replace(node, places)
        return
    values = editor.call(aten.gather.default, (given["self"], -1, places), before=node)
    for user in list(node.users):
        editor.replace(user, (values, places)[user.args[1]])


def _is_item(user: fx.Node) -> bool:
    """Whether a node takes one of several results."""
    return user.op == "call_function" and user.target is operator.getitem


def _product(extents: Any) -> Any:
    total: Any = 1
    for size in extents:
        total = total * size
    return total
