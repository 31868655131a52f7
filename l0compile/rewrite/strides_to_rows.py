"""Windows into memory as selections of rows."""

import math
from collections.abc import Sequence

import torch
from torch import fx

from l0compile.capture import Editor, Program
from l0compile.capture.nodes import arguments, is_op, is_static, tensor

aten = torch.ops.aten

_MOST_ROWS = 1 << 20


def strides_to_rows(program: Program) -> Program:
    """as_strided reads memory, and passes change how values lie in it; rows are rows wherever they lie.

    Rewrite: as_strided(x, size, stride, offset) -> reshape(index_select(reshape(x, [-1, width]), 0, rows), size), width
        being the last size where that many elements always lie together, else 1.
    Checks: x was contiguous when it was traced; all sizes are numbers; no more than a million rows.
    Returns: the program, itself when there is none.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.as_strided.default):
            _select(editor, node)
    return editor.finish()


def _select(editor: Editor, node: fx.Node) -> None:
    given = arguments(node)
    value, size, stride = tensor(given["self"]), list(given["size"]), list(given["stride"])
    start = given["storage_offset"] or 0
    if (
        value is None
        or not all(map(is_static, (*value.shape, *size, *stride, start)))
        or not value.is_contiguous()
    ):
        return
    width = _width(value.numel(), size, stride, start)
    if not 0 < math.prod(size) <= _MOST_ROWS * width:
        return
    rows = torch.tensor(start // width)
    for axis, (count, step) in enumerate(zip(size, stride, strict=True)):
        last = (
            axis == len(size) - 1
        )  # whose steps, where rows are wider than one element, are from row to row
        rows = rows[..., None] + torch.arange(count // width if last else count) * (
            step if last else step // width
        )
    index = editor.add_constant(f"{node.name}_rows", rows.reshape(-1), node)
    flat = editor.call(aten.reshape.default, (given["self"], [-1, width]), before=node)
    picked = editor.call(aten.index_select.default, (flat, 0, index), before=node)
    editor.replace(node, editor.call(aten.reshape.default, (picked, size), before=node))


def _width(elements: int, size: Sequence[int], stride: Sequence[int], start: int) -> int:
    """How many elements that are read together start at a multiple of their number."""
    if not size or stride[-1] != 1 or not size[-1]:
        return 1
    return math.gcd(elements, size[-1], start, *stride[:-1]) if size[-1] > 1 else 1
