"""Read an image patch by patch, so that a convolution that cuts it into patches is a linear layer."""

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, per_axis, tensor
from l0compile.ir.program import Program
from l0compile.rewrite.size_nodes import SizeNodes

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv2d.default, aten.convolution.default)


def patches_to_linear(program: Program) -> Program:
    """Compute a convolution whose windows tile the image as a linear layer on patches.

    Rewrite: conv2d(x [N, C, H, W], w [O, C, P, Q], stride (P, Q)) -> linear(patches [N, H/P, W/Q, C P Q], w as a
        matrix), moved to [N, O, H/P, W/Q].
    Checks: no padding, no dilation, one group, constant weights; H and W are multiples of P and Q.

    Returns:
        The program, itself when it has no such convolution.
    """
    editor = Editor(program)
    sizes = SizeNodes(editor)
    for node in list(editor.graph.nodes):
        if is_op(node, *_CONVOLUTIONS) and _tiles(editor, node):
            editor.replace(node, _linear(editor, sizes, node))
    return editor.finish()


def tiles_image(
    x: torch.Tensor | None, window: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> bool:
    """Whether windows with these steps cut the images x [N, C, H, W] into patches, and leave nothing out."""
    if x is None or x.ndim != 4 or any(padding) or any(step != 1 for step in dilation) or stride != window:
        return False
    return all(is_static(size) and size % part == 0 for size, part in zip(x.shape[2:], window, strict=True))


def patches_of(
    editor: Editor, sizes: SizeNodes, x: fx.Node, weight: torch.Tensor, before: fx.Node
) -> fx.Node:
    """The patches [N, H/P, W/Q, C P Q] of images x that windows of a weight [O, C, P, Q] see."""
    value: torch.Tensor = x.meta["val"]
    batch, (channels, height, width) = sizes.of(value.shape[0]), map(int, value.shape[1:])
    p, q = map(int, weight.shape[2:])
    down, across = height // p, width // q

    def call(target: object, *args: object) -> fx.Node:
        return editor.call(target, args, before=before)

    cut = call(aten.reshape.default, x, [batch, channels, down, p, across, q])
    moved = call(aten.permute.default, cut, [0, 2, 4, 1, 3, 5])
    return call(aten.reshape.default, moved, [batch, down, across, channels * p * q])


def _tiles(editor: Editor, node: fx.Node) -> bool:
    given = arguments(node)
    x, weight = tensor(given["input"]), editor.value(given["weight"])
    if x is None or weight is None or weight.ndim != 4 or x.dtype != weight.dtype:
        return False
    if given["groups"] != 1 or given.get("transposed") or given["padding"] == "same":
        return False
    padding = [0] if given["padding"] == "valid" else given["padding"]
    steps = [per_axis(step, 2) for step in (given["stride"], padding, given["dilation"])]
    window = list(weight.shape[2:])
    return window != [1, 1] and tiles_image(x, window, *steps)


def _linear(editor: Editor, sizes: SizeNodes, node: fx.Node) -> fx.Node:
    given = arguments(node)
    weight = editor.value(given["weight"])
    assert weight is not None
    matrix = editor.add_constant(f"{given['weight'].target}_matrix", weight.flatten(1), node)
    patches = patches_of(editor, sizes, given["input"], weight, node)
    made = editor.call(aten.linear.default, (patches, matrix, given["bias"]), before=node)
    return editor.call(aten.permute.default, (made, [0, 3, 1, 2]), before=node)
