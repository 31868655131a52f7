"""few_tokens: a linear layer of one to three tokens runs as a convolution of images of one pixel."""

from math import prod
from typing import Any

import torch
from torch import fx

import l0compile.ops  # noqa: F401  registers the operators
from l0compile.capture import Editor, Program
from l0compile.capture.nodes import arguments, is_op, shape, tensor
from l0compile.ops.planes import STEP, Planes
from l0compile.rewrite.layout import dense_blocks
from l0compile.rewrite.surgery import linear_weight

aten, l0 = torch.ops.aten, torch.ops.l0compile

# A tile of tokens costs the same whether it is full or not; an image of one pixel costs up to a quarter of it.
_MOST_TOKENS = 3
# Smaller weights take microseconds either way, and the two copies would be noticed.
_LEAST_WEIGHTS = 1 << 16


def few_tokens(program: Program, rows: int) -> Program:
    """Rewrite: linear(x, W, b) -> packed_conv2d of x as images of one pixel.

    Checks: float32, constant weights, at most three tokens and their number known; at least 65536 stored weights;
    block-sparse ones only in blocks of at most ``rows`` x 1.
    Args:
        rows: block rows that dense weights are stored with (the microkernel's height).
    Returns: the program with the small layers rewritten.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = _weight(editor, node, rows) if _few(node) else None
        if found is not None:
            _rewrite(editor, node, *found)
    return editor.finish()


def _few(node: Any) -> bool:
    value = tensor(node)
    if value is None or value.dtype != torch.float32 or value.ndim < 2:
        return False
    known = all(isinstance(size, int) for size in value.shape)
    return known and 0 < prod(value.shape[:-1]) <= _MOST_TOKENS


def _weight(editor: Editor, node: fx.Node, rows: int) -> tuple[fx.Node, torch.Tensor, Any, Any, int] | None:
    """(node of the blocks, place of each column, indptr, bias, n) of a linear layer, dense or block-sparse."""
    if is_op(node, l0.bsr_linear.default):
        given = arguments(node)
        indices, data = editor.value(given["indices"]), editor.value(given["data"])
        bias = given["bias"]
        if indices is None or data is None or (bias is not None and editor.value(bias) is None):
            return None
        if data.shape[1] != 1 or data.shape[2] > rows or data.numel() < _LEAST_WEIGHTS:
            return None
        return given["data"], indices * STEP, given["indptr"], bias, given["n"]
    found = linear_weight(editor, node)
    if found is None or found[0].dtype != torch.float32 or found[0].numel() < _LEAST_WEIGHTS:
        return None
    given, weight = arguments(node), found[0]
    data = editor.add_constant(f"{given['weight'].target}_pixel", dense_blocks(weight, rows), node)
    return data, torch.arange(weight.shape[1]) * STEP, None, given["bias"], int(weight.shape[0])


def _rewrite(
    editor: Editor, node: fx.Node, data: fx.Node, places: torch.Tensor, indptr: Any, bias: Any, n: int
) -> None:
    x, leading = node.args[0], [int(size) for size in shape(node)[:-1]]
    assert isinstance(x, fx.Node)
    planes, pixel = Planes(1, 1, 1, 0, STEP).numbers(), Planes.rows(1, 1).numbers()
    tokens, stem = prod(leading), str(data.target)

    def call(operator: Any, *args: Any) -> fx.Node:
        return editor.call(operator, args, before=node, origin=node)

    table = editor.add_constant(f"{stem}_offsets", places.to(torch.int32), node)
    images = call(aten.view.default, x, [tokens, int(shape(x)[-1]), 1])
    images = call(l0.copy_planes.default, images, pixel, planes, [1, 1], [0, 0])
    y = call(l0.packed_conv2d.default, images, data, table, indptr, bias, None, n, planes, "")
    y = call(l0.copy_planes.default, y, planes, pixel, [1, 1], [0, 0])
    editor.replace(node, call(aten.view.default, y, [*leading, n]))
