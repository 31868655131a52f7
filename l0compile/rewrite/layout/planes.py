"""Give convolutions, and what lies between them, the layout of images in planes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_shape, set_argument, shape, tensor
from l0compile.ir.operator_facts import operators
from l0compile.ir.ops.activation import activation_of
from l0compile.ir.program import Program
from l0compile.rewrite.layout.plane_operands import order_of, plane_constant, scale_and_shift
from l0compile.rewrite.layout.plane_packing import PlanePacking, image_size
from l0compile.rewrite.layout.plane_windows import bsr_convolution, convolution, pooling
from l0compile.rewrite.layout.word_planes import integer_bsr_convolution, integer_convolution
from l0compile.rewrite.windows import CONVOLUTIONS, MAXIMA, MEANS

aten, l0 = torch.ops.aten, torch.ops.l0compile

# Of a function with f(0) = 0 the zeros around the pixels stay zero.
_UNARY = operators(elementwise=1, keeps_zero=True, moves=None)
_CLAMPS = (aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default)
_WITH_ACTIVATION = (
    l0.packed_conv2d.default, l0.packed_winograd.default, l0.packed_window.default,
    l0.packed_int8_conv2d.default,
)  # fmt: skip
_Rule = Callable[[PlanePacking, fx.Node], fx.Node | None]


def pack_planes(program: Program, rows: int) -> Program:
    """Bring convolutions and what lies between them into planes, packing only where such a part begins.

    Rewrite: conv(x) -> image(packed_conv2d(planes(x))); planes(image(y)) -> y; pooling over windows, elementwise
        operators, concatenation of channels and the mean of an image likewise, where an operand is in planes already.
        A dense 3x3 convolution that is faster by Winograd becomes image(packed_winograd(winograd_planes(planes(x)))).
        int8_conv2d(quantize(x)) -> image(packed_int8_conv2d(quantize_planes(planes(x)))), in words of four channels.
    Checks: float32, constant weights, channels, height and width known; elementwise functions map 0 to 0, so that the
        border stays zero; a maximum whose windows reach out of the image reads a copy with minus infinity around it,
        unless no number of the image is negative. Whatever does not fit stays an image.

    Args:
        program: with one way to store each weight.
        rows: block rows that dense weights are stored with, which is the height of the microkernel.

    Returns:
        The program with ``l0compile::copy_planes`` only at the edges, and where a stride cuts an image in phases.
    """
    state = PlanePacking(Editor(program), rows)
    for node in list(state.editor.graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        result = rule(state, node) if rule is not None else None
        if result is not None:
            state.packed[node] = result
            state.editor.changed += 1
    state.back_to_images()
    return state.editor.finish()


def _unary(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    x = node.args[0]
    if x not in state.packed:
        return None
    args = (state.packed[x], *node.args[1:])
    return state.editor.call(node.target, args, before=node, kwargs=node.kwargs)


def _sigmoid(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A sigmoid would make the border 1/2; the convolution before it computes it at the pixels alone."""
    x, conv = node.args[0], state.packed.get(node.args[0])
    if not is_op(conv, *_WITH_ACTIVATION) or len(x.users) != 1 or arguments(conv)["activation"]:
        return None
    set_argument(conv, "activation", activation_of(node))
    return conv


def _clamp(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    given = arguments(node)
    low, high = given.get("min", given.get("min_val")), given.get("max", given.get("max_val"))
    keeps_zero = (low is None or low <= 0) and (high is None or high >= 0)
    return _unary(state, node) if keeps_zero else None


def _prelu(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A slope for each channel; one for all of them becomes as many."""
    x, slope = node.args[0], state.editor.value(node.args[1])
    if x not in state.packed or slope is None or slope.dtype != torch.float32:
        return None
    each = slope.expand(int(shape(node)[1])).contiguous()
    slopes = state.editor.add_constant(f"{node.name}_slope", each, node)
    return state.editor.call(aten.prelu.default, (state.packed[x], slopes), before=node)


def _binary(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    affine = scale_and_shift(state.editor, node)
    if affine is not None and affine[0] in state.packed:
        x, *parts = affine
        planes = state.layouts[image_size(x)]
        # A scale and a shift for each channel are a window of one tap.
        names = zip(("scale", "shift"), parts, strict=True)
        constants = [state.editor.add_constant(f"{node.name}_{name}", part, node) for name, part in names]
        args = (state.packed[x], *constants, len(parts[1]), [planes.lead], planes.numbers(), "")
        return state.editor.call(l0.packed_window.default, args, before=node)
    # An operand in planes may be smaller than the result: columns that gate a whole image.
    if image_size(node) not in state.layouts or not any(a in state.packed for a in node.args[:2]):
        return None
    operands = tuple(_operand(state, argument, node) for argument in node.args[:2])
    if None in operands:
        return None
    return state.editor.call(node.target, operands, before=node, kwargs=node.kwargs)


def _operand(state: PlanePacking, value: Any, node: fx.Node) -> Any:
    """An operand for planes: an image of the result's size, or a factor for each image and channel; else None."""
    product = node.target == aten.mul.Tensor
    if isinstance(value, (int, float)):
        return value if product else None
    if value in state.packed and same_shape(shape(value), shape(node)):
        return state.packed[value]
    other = next((a for a in node.args[:2] if a in state.packed), None)
    if other is not None and same_shape(shape(other), shape(node)):
        # In front of the convolution that it is added to, so that it can be part of it.
        before, planes = state.packed[other], state.layouts[image_size(node)]
        image = plane_constant(state.editor, value, node, planes, before)
        if image is not None:
            return image
    given = tensor(value)
    if given is None or given.dtype != torch.float32 or given.ndim != len(shape(node)):
        return None
    if same_shape(given.shape, shape(node)):
        return state.planes(value, node)
    ones = all(isinstance(extent, int) and extent == 1 for extent in given.shape[2:])
    if not product or not ones:
        return None
    return state.editor.call(aten.flatten.using_ints, (value, 2), before=node)


def _select(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """Channels in another order."""
    found = order_of(state.editor, node)
    if found is None or found[0] not in state.packed:
        return None
    return state.editor.call(node.target, (state.packed[found[0]], *node.args[1:]), before=node)


def _concatenate(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    values, axis = node.args[0], arguments(node)["dim"]
    if axis != 1 or not isinstance(values, (list, tuple)) or not any(v in state.packed for v in values):
        return None
    size = image_size(node)
    if size not in state.layouts or any(image_size(v) != size for v in values):
        return None
    parts = [state.planes(value, node) for value in values if isinstance(value, fx.Node)]
    return state.editor.call(aten.cat.default, (parts, 1), before=node)


def _mean(state: PlanePacking, node: fx.Node) -> None:
    """The mean of each image, straight from its plane, where all but the pixels is zero; its result is no image."""
    x, axes = node.args[:2]
    pools = node.target == aten.adaptive_avg_pool2d.default
    if x not in state.packed or len(shape(x)) != 4 or node.kwargs.get("dtype") is not None:
        return
    if (list(axes) if pools else sorted(axis % 4 for axis in axes)) != ([1, 1] if pools else [2, 3]):
        return
    height, width = image_size(x)
    call = state.editor.call
    total = call(aten.sum.dim_IntList, (state.packed[x], [2]), before=node)
    mean = call(aten.mul.Tensor, (total, 1.0 / (height * width)), before=node)
    for _ in range(len(shape(node)) - 2):
        mean = call(aten.unsqueeze.default, (mean, -1), before=node)
    state.editor.replace(node, mean)


_RULES: dict[Any, _Rule] = {
    **dict.fromkeys(CONVOLUTIONS, convolution),
    l0.bsr_conv2d.default: bsr_convolution,
    l0.int8_conv2d.default: integer_convolution,
    l0.int8_bsr_conv2d.default: integer_bsr_convolution,
    **dict.fromkeys((*MAXIMA, *MEANS), pooling),
    **dict.fromkeys(_UNARY, _unary),
    aten.sigmoid.default: _sigmoid,
    **dict.fromkeys(_CLAMPS, _clamp),
    aten.prelu.default: _prelu,
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor), _binary),
    aten.cat.default: _concatenate,
    aten.index_select.default: _select,
    aten.adaptive_avg_pool2d.default: _mean,
    aten.mean.dim: _mean,
}
