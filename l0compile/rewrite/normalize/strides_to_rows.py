"""Replace windows into memory by selections of rows."""

import math
from collections.abc import Sequence

import torch
from torch import fx

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, region_name, tensor
from l0compile.ir.program import Program

aten = torch.ops.aten

_MOST_ROWS = 1 << 20


def strides_to_rows(program: Program) -> Program:
    """Read rows instead of memory, since passes change how values lie in memory.

    Rewrite: as_strided(x, size, stride, offset) -> reshape(index_select(reshape(x, [-1, width]), 0, rows), size), width
        being the last size where that many elements always lie together, else 1. Where the axes of x lay in another
        order in memory, x is permuted to that order first.
    Checks: x filled its memory when it was traced; all sizes are numbers; there are at most a million rows. An
        as_strided of a contiguous x may stay, since PyTorch gets x as it was.
    Returns: the program, itself when there is no as_strided.

    Raises:
        RewriteError: x lay in memory in a way that is lost, so that as_strided would read other values.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.as_strided.default) and not _select(editor, node):
            value = tensor(arguments(node)["self"])
            if value is None or not value.is_contiguous() or value.storage_offset():
                raise RewriteError(
                    f"{region_name(node)}: {node.name}: expected as_strided of a tensor that fills its memory, got one "
                    "that is a part of another or expanded; write it with unfold, slices or index_select"
                )
    return editor.finish()


def _select(editor: Editor, node: fx.Node) -> bool:
    """Write ``node`` as a selection of rows, and return whether that was possible."""
    given = arguments(node)
    value, size, stride = tensor(given["self"]), list(given["size"]), list(given["stride"])
    if value is None or not all(map(is_static, (*value.shape, *size, *stride))):
        return False
    strides = value.stride()
    order = sorted(range(value.ndim), key=lambda axis: strides[axis], reverse=True)
    offset = given["storage_offset"]
    start = 0 if offset is None else offset - value.storage_offset()
    last = start + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if not value.permute(order).is_contiguous() or not 0 <= start <= last < value.numel():
        return False
    width = _width(value.numel(), size, stride, start)
    if not 0 < math.prod(size) <= _MOST_ROWS * width:
        return False
    index = editor.add_constant(f"{node.name}_rows", _rows(size, stride, start, width), node)
    source = given["self"]
    if order != sorted(order):
        source = editor.call(aten.permute.default, (source, order), before=node)
    flat = editor.call(aten.reshape.default, (source, [-1, width]), before=node)
    picked = editor.call(aten.index_select.default, (flat, 0, index), before=node)
    editor.replace(node, editor.call(aten.reshape.default, (picked, size), before=node))
    return True


def _rows(size: Sequence[int], stride: Sequence[int], start: int, width: int) -> torch.Tensor:
    """The numbers of the selected rows of ``width`` elements, in order."""
    rows = torch.tensor(start // width)
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        # Where rows are wider than one element, the last axis steps from row to row.
        if axis == len(size) - 1:
            rows = rows[..., None] + torch.arange(count // width) * step
        else:
            rows = rows[..., None] + torch.arange(count) * (step // width)
    return rows.reshape(-1)


def _width(elements: int, size: Sequence[int], stride: Sequence[int], start: int) -> int:
    """The largest row width such that every row read starts at a multiple of it."""
    if not size or stride[-1] != 1 or not size[-1]:
        return 1
    return math.gcd(elements, size[-1], start, *stride[:-1]) if size[-1] > 1 else 1
