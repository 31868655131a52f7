"""Operands of values in planes: constant images, numbers for each channel, orders of channels, rounded images."""

from math import prod

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.channels import can_hold
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape, tensor
from l0compile.ir.ops.planes import Planes

aten, l0 = torch.ops.aten, torch.ops.l0compile


def plane_constant(
    editor: Editor, value: object, image: fx.Node, planes: Planes, before: fx.Node
) -> fx.Node | None:
    """A constant image [1, C, ...] as a constant in planes; None when ``value`` is not one of the size of ``image``.

    It is repeated for each image of a small fixed batch, because a convolution takes a residual of its result's shape.
    """
    found = editor.value(value)
    if found is None or found.dtype != torch.float32 or tuple(found.shape) != (1, *shape(image)[1:]):
        return None
    rows = Planes.rows(planes.height, planes.width)
    laid_out = l0.copy_planes(found.flatten(2), rows.numbers(), planes.numbers(), [1, 1], [0, 0])
    batch = shape(image)[0]
    if can_hold([batch, *laid_out.shape]):
        laid_out = laid_out.expand(int(batch), -1, -1)
    assert isinstance(value, fx.Node)
    return editor.add_constant(f"{value.target}_planes", laid_out, before)


def scale_and_shift(editor: Editor, node: fx.Node) -> tuple[fx.Node, Tensor, Tensor] | None:
    """(x, scale [C, 1], shift [C]) of an addition of a constant for each channel, and of a multiplication before it.

    None when ``node`` is no such addition. By itself an addition would change the zeros around the pixels.
    """
    if not is_op(node, aten.add.Tensor) or node.kwargs:
        return None
    shift, x = _per_channel(editor, node)
    if shift is None or x is None:
        return None
    if is_op(x, aten.mul.Tensor) and len(x.users) == 1:
        scale, inner = _per_channel(editor, x)
        if scale is not None and inner is not None and shape(inner) == shape(x):
            return inner, scale.reshape(-1, 1), shift
    return x, torch.ones(len(shift), 1), shift


def _per_channel(editor: Editor, node: fx.Node) -> tuple[Tensor | None, fx.Node | None]:
    """(constant [C], other operand) of arithmetic with a constant that varies only along axis 1."""
    rank = len(shape(node))
    if rank < 2:
        return None, None
    channels = shape(node)[1]
    for constant, other in (node.args[:2], node.args[1::-1]):
        value = editor.value(constant)
        if value is None or value.dtype != torch.float32 or not isinstance(other, fx.Node):
            continue
        sizes = [1] * (rank - value.ndim) + list(value.shape)
        if sizes[1] == channels == prod(sizes):
            return value.reshape(-1), other
    return None, None


def order_of(editor: Editor, node: object) -> tuple[fx.Node, Tensor] | None:
    """(x, channels [n]) of an index_select along axis 1 by a constant, else None."""
    if not is_op(node, aten.index_select.default) or not isinstance(node, fx.Node):
        return None
    given = arguments(node)
    order = editor.value(given["index"])
    wrong = order is None or order.ndim != 1 or given["dim"] % len(shape(node)) != 1
    return None if wrong or order is None else (given["self"], order)


def integer_input(editor: Editor, conv: fx.Node) -> tuple[fx.Node, Tensor, int] | None:
    """(x, inverse [C], zero point) of the ``l0compile::quantize`` that a convolution of integers reads.

    None when that is no such node, has scales that vary by more than the channel, or when a parameter of the
    convolution is no constant.
    """
    source, given = conv.args[0], arguments(conv)
    parameters = [
        given[name] for name in ("weight", "data", "indices", "indptr", "scale", "bias") if name in given
    ]
    nodes = [parameter for parameter in parameters if isinstance(parameter, fx.Node)]
    if not is_op(source, l0.quantize.default) or any(editor.value(node) is None for node in nodes):
        return None
    assert isinstance(source, fx.Node)
    x, inverse, zero_point = source.args
    scales, image = editor.value(inverse), tensor(x)
    if scales is None or image is None or image.dtype != torch.float32 or image.ndim != 4:
        return None
    channels = int(image.shape[1])
    if scales.numel() != 1 and tuple(scales.shape) != (channels, 1, 1):
        return None
    assert isinstance(x, fx.Node) and isinstance(zero_point, int)
    return x, scales.reshape(-1).expand(channels).contiguous(), zero_point
