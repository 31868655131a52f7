"""Read the operators of PyTorch's graph quantisation (PT2E, ``torch.ops.quantized_decomposed``)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, per_axis, shape, tensor
from l0compile.ir.ops.quantized import LEVELS
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_QUANTIZE = "quantized_decomposed::quantize_per_tensor"
_DEQUANTIZE = "quantized_decomposed::dequantize_per_tensor"
_DEQUANTIZE_CHANNELS = "quantized_decomposed::dequantize_per_channel"


@dataclass(frozen=True)
class _Levels:
    """An activation on a grid: clamp(round(x / scale) + zero_point, low, high), and back to float."""

    x: fx.Node
    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def fills_a_byte(self) -> bool:
        return self.high - self.low == LEVELS and self.low <= self.zero_point <= self.high


@dataclass(frozen=True)
class _ForeignWeight:
    """A constant weight [n, ...] int8, and the scale of each row."""

    integers: torch.Tensor
    scales: torch.Tensor
    name: str


def read_quantized_graph(program: Program) -> Program:
    """Compute with the integers that another quantizer chose.

    Rewrite: linear(dequantize(quantize(x)), dequantize(W), bias) -> int8_linear(quantize(x), W, bias), and likewise
        conv2d of one group. Other
        dequantize(quantize(x)) -> clamp(round(x / scale), low - zero_point, high - zero_point) * scale, which is what
        both compute together, in float32.
    Checks: both have the same constant scale and zero point for the tensor. Of a layer: 256 levels, x with at least two
        axes, W a constant of int8 with zero points 0 and one scale, or one for each output. A zero point or a
        scale that is computed, as dynamic quantisation does, or groups within a row, leave it as it is.
    Returns: the program, itself where there is no such operator.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.linear.default, aten.conv2d.default):
            _layer(editor, node)
    for node in list(editor.graph.nodes):
        levels = _levels(node)
        if levels is not None and node.users:
            _in_float(editor, node, levels)
    return editor.finish()


def _layer(editor: Editor, node: fx.Node) -> None:
    given: dict[str, Any] = arguments(node)
    levels, weight, bias = _levels(given["input"]), _weight(editor, given["weight"]), given["bias"]
    if levels is None or weight is None or not levels.fills_a_byte or not _able(node, weight):
        return
    if bias is not None and editor.value(bias) is None:
        return
    # Signed levels are unsigned ones with another zero point.
    zero_point = levels.zero_point - levels.low
    inverse = torch.tensor([1.0 / levels.scale], dtype=torch.float32)
    scale = weight.scales.double() * levels.scale
    tensors = {"_inverse": inverse, "_integers": weight.integers, "_scale": scale.float()}
    constants = [editor.add_constant(weight.name + end, value, node) for end, value in tensors.items()]
    q = editor.call(l0.quantize.default, (levels.x, constants[0], zero_point), before=node, origin=node)
    target, windows = l0.int8_linear.default, []
    if is_op(node, aten.conv2d.default):
        target = l0.int8_conv2d.default
        windows = [per_axis(given[name], 2) for name in ("stride", "padding", "dilation")]
    args = (q, *constants[1:], bias, zero_point, *windows)
    editor.replace(node, editor.call(target, args, before=node, origin=node))


def _able(node: fx.Node, weight: _ForeignWeight) -> bool:
    """Whether there is an operator of integers for a layer of float32."""
    if node.meta["val"].dtype != torch.float32:
        return False
    if is_op(node, aten.conv2d.default):
        return arguments(node)["groups"] == 1 and weight.integers.ndim == 4 and len(shape(node)) == 4
    return weight.integers.ndim == 2 and len(shape(node)) >= 2


def _in_float(editor: Editor, node: fx.Node, levels: _Levels) -> None:
    low, high = (float(bound - levels.zero_point) for bound in (levels.low, levels.high))
    steps: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (aten.mul.Tensor, (1.0 / levels.scale,)),
        (aten.round.default, ()),
        (aten.clamp.default, (low, high)),
        (aten.mul.Tensor, (levels.scale,)),
    )
    value = levels.x
    for operator, rest in steps:
        value = editor.call(operator, (value, *rest), before=node, origin=node)
    editor.replace(node, value)


def _levels(node: Any) -> _Levels | None:
    """What ``dequantize(quantize(x))`` makes of x, or None."""
    if not _calls(node, _DEQUANTIZE):
        return None
    back = arguments(node)
    source = back["input"]
    if not _calls(source, _QUANTIZE) or back["out_dtype"] not in (None, torch.float32):
        return None
    given = arguments(source)
    x = given["input"]
    value = tensor(x)
    if value is None or value.dtype != torch.float32:
        return None
    names = ("scale", "zero_point", "quant_min", "quant_max")
    numbers = [given[name] for name in names]
    if numbers != [back[name] for name in names] or not all(isinstance(n, int | float) for n in numbers):
        return None
    return _Levels(x, *numbers)


def _weight(editor: Editor, node: Any) -> _ForeignWeight | None:
    if not _calls(node, _DEQUANTIZE, _DEQUANTIZE_CHANNELS):
        return None
    given = arguments(node)
    integers = editor.value(given["input"])
    if integers is None or integers.dtype != torch.int8:
        return None
    name = str(given["input"].target)
    if _calls(node, _DEQUANTIZE):
        scale = given["scale"]
        if given["zero_point"] != 0 or not isinstance(scale, float):
            return None
        return _ForeignWeight(integers, torch.full((len(integers),), scale, dtype=torch.float64), name)
    scales, zeros = editor.value(given["scales"]), given["zero_points"]
    zero_points = None if zeros is None else editor.value(zeros)
    if scales is None or given["axis"] != 0 or scales.shape != (len(integers),):
        return None
    if zeros is not None and (zero_points is None or bool(zero_points.any())):
        return None
    return _ForeignWeight(integers, scales, name)


def _calls(node: Any, *names: str) -> bool:
    """Whether a node calls one of these operators, with numbers for scale and zero point.

    By name: they exist only where something has imported PyTorch's or torchao's quantisation.
    """
    if not isinstance(node, fx.Node) or not isinstance(node.target, OpOverload):
        return False
    schema = node.target._schema
    return schema.name in names and schema.overload_name == ""
