"""Bring a dense program into the form that PyTorch runs fastest."""

import math
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_op, per_axis, same_shape, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.ops.activation import activation_of
from l0compile.ir.ops.dense import AFTER_SUM
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.convolution.default)
# Multiply-adds from which oneDNN pays. A call takes 30 microseconds longer than one of the BLAS that PyTorch has
# for linear layers and small convolutions. That BLAS is half as fast on some machines, and has one thread for few rows.
_WORTH_A_CALL, _WORTH_FEW_ROWS, _FEW_ROWS = 4_000_000, 1_000_000, 8
_WORTH_A_WINDOW = 1_500_000  # with more than one tap, where BLAS wants a copy of the image


def dense_kernels(program: Program) -> Program:
    """Fuse dense layers with what follows them, and keep the memory layout that other operators rely on.

    Rewrite: linear and convolution -> l0compile::dense_linear, dense_convolution, together with an activation, or a sum
        with a tensor of the result's shape, that is their only reader; view -> reshape. An operator that reads strides
        gets a contiguous input if it had one, and an operator from outside PyTorch gets contiguous inputs.
    Checks: float32; weight and bias are constants; one reader; equal shapes and dtypes; a layer is large enough, at the
        sizes of the example, to be worth a call of oneDNN. Over one axis only a grouped convolution pays.
    Returns: the program, itself when there is nothing to do.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.linear.default):
            _linear(editor, node)
        elif is_op(node, *_CONVOLUTIONS):
            _convolution(editor, node)
        elif facts_of(node).strides == "fit":
            node.target = aten.reshape.default
            editor.changed += 1
        elif facts_of(node).strides == "read":
            # A convolution in another engine may change how its result lies in memory.
            _keep_strides(editor, node)
        elif _is_foreign(node):
            _lay_out(editor, node)
    for node in list(editor.graph.nodes):
        _fuse(editor, node)
    return editor.finish()


def _constant_float32(editor: Editor, *nodes: Any) -> bool:
    values = [editor.value(node) for node in nodes if node is not None]
    return all(value is not None and value.dtype == torch.float32 for value in values)


def _linear(editor: Editor, node: fx.Node) -> None:
    x, weight, bias = (*node.args, None)[:3]
    value = tensor(x)
    if value is None or value.dtype != torch.float32 or not _constant_float32(editor, weight, bias):
        return
    if len(shape(weight)) != 2 or 0 in shape(weight):
        return
    rows = math.prod(example_size(size) for size in value.shape[:-1])
    if rows * math.prod(shape(weight)) < (_WORTH_FEW_ROWS if rows <= _FEW_ROWS else _WORTH_A_CALL):
        return
    editor.replace(node, editor.call(l0.dense_linear.default, (x, weight, bias, None, rows, ""), before=node))


def _convolution(editor: Editor, node: fx.Node) -> None:
    given = arguments(node)
    x, weight, bias = given["input"], given["weight"], given["bias"]
    value = tensor(x)
    if value is None or value.dtype != torch.float32 or not _constant_float32(editor, weight, bias):
        return
    axes = len(shape(weight)) - 2
    if axes not in (1, 2) or value.ndim != axes + 2 or given.get("transposed") or 0 in shape(weight):
        return
    steps = [list(given[name]) for name in ("stride", "padding", "dilation")]
    if not all(isinstance(size, int) for step in steps for size in step):
        return
    if given["groups"] == 1 and not _worth_it(node, weight):
        return
    steps = [per_axis(step, axes) for step in steps]
    example = [example_size(size) for size in value.shape]
    args = (x, weight, bias, None, *steps, given["groups"], example, "")
    editor.replace(node, editor.call(l0.dense_convolution.default, args, before=node))


def _is_foreign(node: fx.Node) -> bool:
    """Whether ``node`` calls an operator or control flow whose code may rely on how its inputs lie in memory."""
    if isinstance(node.target, OpOverload):
        return node.target.namespace not in ("aten", "prims", "l0compile")
    return isinstance(node.target, ControlFlow)


def _lay_out(editor: Editor, node: fx.Node) -> None:
    for source in node.all_input_nodes:
        if tensor(source) is not None and not is_op(source, aten.contiguous.default):
            # It copies only where the input lies otherwise by now.
            node.replace_input_with(source, editor.call(aten.contiguous.default, (source,), before=node))
            editor.changed += 1


def _worth_it(node: fx.Node, weight: fx.Node) -> bool:
    """Whether an ungrouped convolution is faster on a packed weight."""
    places = [example_size(size) for size in (shape(node)[0], *shape(node)[2:])]
    taps = math.prod(shape(weight)[2:])
    least = _WORTH_A_WINDOW if taps > 1 else _WORTH_A_CALL
    return len(shape(weight)) == 4 and math.prod(places) * math.prod(shape(weight)) >= least


def _keep_strides(editor: Editor, node: fx.Node) -> None:
    value = tensor(node.args[0])
    if value is None or not value.is_contiguous():
        return
    copy = editor.call(
        aten.clone.default, (node.args[0],), before=node, kwargs={"memory_format": torch.contiguous_format}
    )
    node.update_arg(0, copy)
    editor.changed += 1


def _fuse(editor: Editor, node: fx.Node) -> None:
    activation = activation_of(node)
    if activation and _open(node.args[0]):
        dense: Any = node.args[0]
        # oneDNN has a sum before an activation only for convolutions, and only for few activations.
        after_sum = is_op(dense, l0.dense_convolution.default) and activation in AFTER_SUM
        if dense.args[3] is None or after_sum:
            _absorb(editor, node, dense, -1, activation)
    elif is_op(node, aten.add.Tensor) and node.kwargs.get("alpha", 1) == 1:
        _fuse_sum(editor, node)


def _fuse_sum(editor: Editor, node: fx.Node) -> None:
    for dense, other in (node.args[:2], node.args[1::-1]):
        value, result = tensor(other), tensor(node)
        if not _open(dense) or dense.args[3] is not None or dense is other or value is None or result is None:
            continue
        if value.dtype == result.dtype and same_shape(value.shape, shape(dense)):
            _absorb(editor, node, dense, 3, other)
            return


def _open(node: Any) -> bool:
    """Whether ``node`` is a dense layer with one reader and without an activation."""
    dense = is_op(node, l0.dense_linear.default, l0.dense_convolution.default)
    return dense and len(node.users) == 1 and node.args[-1] == ""


def _absorb(editor: Editor, node: fx.Node, dense: fx.Node, position: int, value: Any) -> None:
    args = list(dense.args)
    args[position] = value
    # It takes the place of the reader, where the other summand exists too.
    fused = editor.call(dense.target, tuple(args), before=node, origin=dense)
    editor.replace(node, fused)
    editor.graph.erase_node(dense)
