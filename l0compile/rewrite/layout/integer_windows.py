"""Convolutions of 8-bit integers over images of unknown size, as linear layers of the pixels that a window sees."""

from itertools import product
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.program import Program
from l0compile.rewrite.layout.plane_operands import integer_input
from l0compile.rewrite.windows import window_of

aten, l0 = torch.ops.aten, torch.ops.l0compile

# How PyTorch writes the end of a slice that ends where its operand does.
_END = 2**63 - 1


def integer_windows(program: Program) -> Program:
    """Compute convolutions of integers as linear layers where the size of the image is not known.

    Rewrite: int8_conv2d(quantize(x), W) -> int8_linear(quantize(columns(x)), matrix of W), where columns(x) holds for
        each place of the window, side by side, the channels that its taps see.
    Checks: height or width are symbolic; a batch; one group; constant parameters, and scales that vary by channel at
        most. What lies around an image is 0, which is quantised to the zero point. Sums are the same integers.
    Returns: the program, itself when there is no such convolution.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, l0.int8_conv2d.default) and window_of(node) is None:
            _rewrite(editor, node)
    return editor.finish()


def _rewrite(editor: Editor, node: fx.Node) -> None:
    given, found = arguments(node), integer_input(editor, node)
    weight = editor.value(given["weight"])
    if found is None or weight is None or given["groups"] != 1 or found[2] != given["zero_point"]:
        return
    x, inverse, zero_point = found

    def call(target: Any, *args: Any) -> fx.Node:
        return editor.call(target, args, before=node, origin=node)

    rows = call(aten.permute.default, _columns(editor, node, x, weight.shape[2:]), [0, 2, 3, 1])
    taps, stem = weight.shape[2] * weight.shape[3], given["weight"].target
    scales = editor.add_constant(f"{stem}_inverse", inverse.repeat(taps), node)
    matrix = editor.add_constant(f"{stem}_columns", weight.permute(0, 2, 3, 1).reshape(len(weight), -1), node)
    q = call(l0.quantize.default, rows, scales, zero_point)
    y = call(l0.int8_linear.default, q, matrix, given["scale"], given["bias"], zero_point)
    editor.replace(node, call(aten.permute.default, y, [0, 3, 1, 2]))


def _columns(editor: Editor, node: fx.Node, x: fx.Node, kernel: torch.Size) -> fx.Node:
    """[N, C, H, W] -> [N, taps * C, H', W']; all sizes that are written are numbers."""
    given = arguments(node)
    (top, left), stride, dilation = (given[name] for name in ("padding", "stride", "dilation"))
    if top or left:
        x = editor.call(aten.constant_pad_nd.default, (x, [left, left, top, top], 0.0), before=node)
    parts = []
    for taps in product(*map(range, kernel)):
        part = x
        for axis, (tap, size, step, apart) in enumerate(
            zip(taps, kernel, stride, dilation, strict=True), start=2
        ):
            # Counted from the end, so that it does not depend on the size of the image.
            behind = (size - 1 - tap) * apart
            bounds = (part, axis, tap * apart, -behind if behind else _END, step)
            part = editor.call(aten.slice.Tensor, bounds, before=node)
        parts.append(part)
    return parts[0] if len(parts) == 1 else editor.call(aten.cat.default, (parts, 1), before=node)
