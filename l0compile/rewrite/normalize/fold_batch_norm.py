"""Fold batch norm with fixed statistics, a scale and a shift per channel, into the layer before it."""

import operator
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.operator_facts import operators
from l0compile.ir.program import Program

aten = torch.ops.aten

_SEVERAL_RESULTS = (aten._native_batch_norm_legit_no_training.default, aten.native_batch_norm.default)
# Layers whose weight has the output channels on axis 0.
_LAYERS = (aten.linear.default, *operators(window="convolution"))


def fold_batch_norm(program: Program) -> Program:
    """Fold batch norm with fixed statistics into the layer before it, or make it a scale and a shift.

    Rewrite: batch_norm(layer(x, W, b), m, v, g, t) -> layer(x, s W, s (b - m) + t) with s = g / sqrt(v + eps);
        after anything else -> add(mul(x, s), t - s m) with one number per channel of axis 1.
    Checks: inference mode; all parameters are constants; nothing else reads the layer, whose channels are axis 1.
    Returns: the program, itself when there is no batch norm.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, aten.batch_norm.default, *_SEVERAL_RESULTS):
            scale_and_shift = _scale_and_shift(editor, node)
            result = _only_result(node)
            if scale_and_shift is not None and result is not None:
                _fold(editor, arguments(node)["input"], result, *scale_and_shift)
    return editor.finish()


def _only_result(node: fx.Node) -> fx.Node | None:
    """The node of the normalised tensor; None when something reads the saved statistics."""
    if is_op(node, aten.batch_norm.default):
        return node
    users = list(node.users)
    wanted = len(users) == 1 and users[0].target is operator.getitem and users[0].args[1] == 0
    return users[0] if wanted else None


def _scale_and_shift(editor: Editor, node: fx.Node) -> tuple[Tensor, Tensor] | None:
    given = arguments(node)
    names = ("running_mean", "running_var", "weight", "bias")
    values = [editor.value(given[name]) for name in names]
    missing = any(given[n] is not None and v is None for n, v in zip(names, values, strict=True))
    mean, var, weight, bias = values
    if given.get("training") or missing or mean is None or var is None:
        return None
    # In double precision: the fold is then as exact as the weights' own rounding.
    scale = torch.rsqrt(var.double() + given["eps"])
    scale = scale if weight is None else scale * weight.double()
    shift = -mean.double() * scale
    return scale, shift if bias is None else shift + bias.double()


def _fold(editor: Editor, source: fx.Node, result: fx.Node, scale: Tensor, shift: Tensor) -> None:
    if (
        is_op(source, *_LAYERS)
        and len(source.users) == 1
        and _into_layer(editor, source, result, scale, shift)
    ):
        return
    trailing = [1] * (len(shape(result)) - 2)
    dtype = result.meta["val"].dtype
    factors = (editor.add_constant(f"{result.name}_{name}", value.to(dtype).reshape(-1, *trailing), result)
               for name, value in (("scale", scale), ("shift", shift)))  # fmt: skip
    value: Any = source
    for target, factor in zip((aten.mul.Tensor, aten.add.Tensor), factors, strict=True):
        value = editor.call(target, (value, factor), before=result, origin=result)
    editor.replace(result, value)


def _into_layer(editor: Editor, layer: fx.Node, result: fx.Node, scale: Tensor, shift: Tensor) -> bool:
    given = arguments(layer)
    weight, bias = editor.value(given["weight"]), editor.value(given["bias"])
    channels_last = is_op(layer, aten.linear.default) and len(shape(layer)) > 2
    if weight is None or (given["bias"] is not None and bias is None) or channels_last:
        return False
    scaled = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    shifted = shift if bias is None else shift + bias.double() * scale
    stem = str(given["weight"].target)

    new_weight = editor.add_constant(stem, scaled.to(weight.dtype), layer)
    name = str(given["bias"].target) if bias is not None else f"{stem}_bias"
    new_bias = editor.add_constant(name, shifted.to(weight.dtype), layer)
    args = (given["input"], new_weight, new_bias, *layer.args[3:])
    kwargs = {key: value for key, value in layer.kwargs.items() if key not in ("weight", "bias", "input")}
    created = editor.call(layer.target, args, before=layer, origin=layer, kwargs=kwargs)
    created.meta["val"] = layer.meta["val"]
    editor.replace(result, created)
    return True
