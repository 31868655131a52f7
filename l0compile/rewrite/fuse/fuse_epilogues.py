"""Move activations and residual additions into the packed operator that feeds them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_shape, set_argument, shape
from l0compile.ir.ops.activation import ROUNDED, activation_of, after
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_LINEAR = (
    l0.packed_linear.default, l0.packed_bfloat16_linear.default, l0.packed_int8_linear.default,
    l0.dense_linear.default, l0.rows_bsr_linear.default, l0.rows_int8_linear.default,
    l0.two_of_four_linear.default,
)  # fmt: skip
_INTEGER_CONV = l0.packed_int8_conv2d.default
_CONVOLUTIONS = (l0.packed_conv2d.default, l0.packed_winograd.default)
_ON_PLANES = (*_CONVOLUTIONS, l0.packed_window.default, _INTEGER_CONV)


def fuse_epilogue(program: Program) -> Program:
    """Fuse what follows a linear layer in the form that kernels take.

    Rewrite: act(packed_linear(x)) -> packed_linear(x, act); packed_linear(x) + r -> packed_linear(x, residual=r).
        Likewise of narrow numbers, and of layers on rows. A rounding to bfloat16 is an activation, alone or around one.
    Checks: nothing else reads the linear layer; an activation is fused before a residual, never after it; the other
        summand has the result's own shape and is computed before the linear layer.
    Returns: the program, itself when nothing follows.
    """
    editor = Editor(program)
    order = {node: position for position, node in enumerate(editor.graph.nodes)}
    for node in list(editor.graph.nodes):
        activation = _activation(node)
        if activation and _takes(node.args[0], "residual", of=_LINEAR):
            _fuse_activation(editor, node, node.args[0], activation)
        elif _is_sum(node):
            _fuse_residual(editor, node, order, "residual", of=_LINEAR)
    return editor.finish()


def fuse_conv_epilogue(program: Program) -> Program:
    """Fuse what follows a convolution on planes.

    Rewrite: conv(x) + r -> conv(x, residual=r); act(conv(x)) -> conv(x, act), also after the addition. Of integers
        likewise.
    Checks: nothing else reads the convolution; a residual is added before an activation, never after it; it has the
        result's own shape and is computed before the convolution. The slopes of a PReLU are constants, one a channel.
    Returns: the program, itself when nothing follows.
    """
    editor = Editor(program)
    order = {node: position for position, node in enumerate(editor.graph.nodes)}
    for node in list(editor.graph.nodes):
        activation = _activation(node)
        if activation and _takes(node.args[0], of=_ON_PLANES):
            _fuse_activation(editor, node, node.args[0], activation)
        elif is_op(node, aten.prelu.default, aten.leaky_relu.default):
            _fuse_slopes(editor, node)
        elif _is_sum(node):
            _fuse_residual(editor, node, order, "residual", "activation", of=(*_CONVOLUTIONS, _INTEGER_CONV))
    return editor.finish()


def _activation(node: fx.Node) -> str | None:
    return ROUNDED if is_op(node, l0.round_bfloat16.default) else activation_of(node)


def _fuse_activation(editor: Editor, node: fx.Node, layer: Any, activation: str) -> None:
    """Rounding to bfloat16 may stand before another activation and behind it; two others make none."""
    joined = after(arguments(layer)["activation"], activation)
    if joined is not None:
        _fuse(editor, node, layer, activation=joined)


def _takes(node: Any, *names: str, of: tuple[Any, ...]) -> bool:
    """Whether ``node`` is one of the operators ``of``, has a single reader, and has none of these arguments yet."""
    if not is_op(node, *of) or len(node.users) != 1:
        return False
    given = arguments(node)
    return all(given[name] in (None, "") for name in names)


def _is_sum(node: fx.Node) -> bool:
    return is_op(node, aten.add.Tensor) and node.kwargs.get("alpha", 1) == 1


def _fuse_residual(
    editor: Editor, node: fx.Node, order: Mapping[fx.Node, int], *free: str, of: tuple[Any, ...]
) -> None:
    """Make one summand the residual of the other; ``free``: what that may not have yet."""
    for layer, other in (node.args[:2], node.args[1::-1]):
        if not _takes(layer, *free, of=of) or not isinstance(other, fx.Node) or layer is other:
            continue
        if order[other] < order[layer] and same_shape(shape(other), shape(layer)):
            _fuse(editor, node, layer, residual=other)
            return


def _fuse_slopes(editor: Editor, node: fx.Node) -> None:
    """A slope for each channel; a leaky ReLU has the same for all."""
    conv, given = node.args[0], list(arguments(node).values())[1]
    if not _takes(conv, "activation", of=_CONVOLUTIONS):
        return
    channels = int(shape(node)[1])
    leaky = is_op(node, aten.leaky_relu.default)
    slopes = torch.full((channels,), float(given)) if leaky else editor.value(given)
    if slopes is not None and slopes.shape == (channels,):
        # The constant stands before the convolution, which reads it now.
        constant = editor.add_constant(f"{node.name}_slope", slopes, conv)
        _fuse(editor, node, conv, activation="prelu", slope=constant)


def _fuse(editor: Editor, node: fx.Node, layer: Any, **values: Any) -> None:
    for name, value in values.items():
        set_argument(layer, name, value)
    editor.replace(node, layer)
