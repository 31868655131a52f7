"""fuse_conv_epilogue: residual addition and activation move into the convolution on planes that feeds them."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_shape, shape
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_ACTIVATION = {
    aten.relu.default: "relu",
    aten.relu6.default: "relu6",
    aten.silu.default: "silu",
    aten.hardswish.default: "hardswish",
    aten.tanh.default: "tanh",
}
_CONV, _WINOGRAD, _WINDOW = l0.packed_conv2d.default, l0.packed_winograd.default, l0.packed_window.default
_ACTIVATION_ARG = {_CONV: 8, _WINOGRAD: 9, _WINDOW: 6}
_RESIDUAL_ARG = {_CONV: 5, _WINOGRAD: 4}


def fuse_conv_epilogue(program: Program) -> Program:
    """Rewrite: conv(x) + r -> conv(x, residual=r); act(conv(x)) -> conv(x, act), also after the addition.

    Checks: nothing else reads the convolution's result; a residual is added before an activation, never after; it has
    the result's own shape and is computed before the convolution. The slopes of a PReLU are constants, one a channel.
    Returns: the program with fewer nodes.
    """
    editor = Editor(program)
    order = {node: position for position, node in enumerate(editor.graph.nodes)}
    for node in list(editor.graph.nodes):
        activation = _activation_name(node)
        if is_op(node, aten.prelu.default, aten.leaky_relu.default) and _is_plain(
            node.args[0], *_RESIDUAL_ARG
        ):
            _fuse_slope(editor, node)
        elif activation and _is_plain(node.args[0], *_ACTIVATION_ARG):
            _fuse(editor, node, node.args[0], _ACTIVATION_ARG[node.args[0].target], activation)
        elif is_op(node, aten.add.Tensor) and node.kwargs.get("alpha", 1) == 1:
            _fuse_residual(editor, node, order)
    return editor.finish()


def _activation_name(node: fx.Node) -> str | None:
    if is_op(node, aten.gelu.default):
        return "gelu_tanh" if node.kwargs.get("approximate") == "tanh" else "gelu"
    if is_op(node, aten.hardtanh.default, aten.clamp.default):
        return {(0, 6): "relu6", (0, None): "relu"}.get(tuple(list(arguments(node).values())[1:3]))
    return _ACTIVATION.get(node.target)


def _is_plain(node: Any, *targets: Any) -> bool:
    """A convolution that only one node reads and that has no activation yet."""
    if not is_op(node, *targets) or len(node.users) != 1:
        return False
    return bool(node.args[_ACTIVATION_ARG[node.target]] == "")


def _fuse_slope(editor: Editor, node: fx.Node) -> None:
    """A slope for each channel, which a leaky ReLU has alike."""
    conv, given = node.args[0], list(arguments(node).values())[1]
    channels = int(shape(node)[1])
    leaky = is_op(node, aten.leaky_relu.default)
    slopes = torch.full((channels,), float(given)) if leaky else editor.value(given)
    assert isinstance(conv, fx.Node)
    if slopes is None or slopes.shape != (channels,):
        return
    # Before the convolution, which reads it now.
    args = [*conv.args, editor.add_constant(f"{node.name}_slope", slopes, conv)]
    args[_ACTIVATION_ARG[conv.target]] = "prelu"
    conv.args = tuple(args)
    editor.replace(node, conv)


def _fuse_residual(editor: Editor, node: fx.Node, order: dict[fx.Node, int]) -> None:
    for conv, other in (node.args[:2], node.args[1::-1]):
        if not _is_plain(conv, *_RESIDUAL_ARG) or not isinstance(other, fx.Node) or conv is other:
            continue
        assert isinstance(conv, fx.Node)
        position = _RESIDUAL_ARG[conv.target]
        free = conv.args[position] is None and order[other] < order[conv]
        if free and same_shape(shape(other), shape(conv)):
            _fuse(editor, node, conv, position, other)
            return


def _fuse(editor: Editor, node: fx.Node, conv: fx.Node, position: int, value: object) -> None:
    args = list(conv.args)
    args[position] = value
    conv.args = tuple(args)
    editor.replace(node, conv)
