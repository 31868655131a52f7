"""Give linear layers and norms the operators that kernels of a GPU take; values stay in rows."""

import math
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_static, shape, tensor
from l0compile.ir.ops.bsr import heaviest_first
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def gpu_rows(program: Program) -> Program:
    """Give linear layers and norms the operators that kernels of a GPU take.

    Rewrite: linear(x) -> dense_linear(x); bsr_linear(x) -> rows_bsr_linear(x), both open for an activation and a
        residual; layer_norm(x) and rms_norm(x) over the last axis -> the compacted norms, with nothing left out.
    Checks: float32, float16 or bfloat16, the same for all operands; a weight of two axes; a last axis of known size.

    Returns:
        The program, itself when it has none of these.
    """
    editor = Editor(program)
    rules = {
        aten.linear.default: _linear, l0.bsr_linear.default: _bsr_linear, aten.layer_norm.default: _layer_norm,
        aten.rms_norm.default: _rms_norm,
    }  # fmt: skip
    for node in list(editor.graph.nodes):
        rule = rules.get(node.target) if node.op == "call_function" else None
        if rule is not None:
            made = rule(editor, node)
            if made is not None:
                editor.replace(node, made)
    return editor.finish()


def _linear(editor: Editor, node: fx.Node) -> fx.Node | None:
    given = arguments(node)
    x, weight, bias = given["input"], given["weight"], given["bias"]
    if not _alike(x, weight, bias) or len(shape(weight)) != 2 or not all(map(is_static, shape(weight))):
        return None
    rows = math.prod(map(example_size, shape(x)[:-1]))
    return editor.call(l0.dense_linear.default, (x, weight, bias, None, rows, ""), before=node)


def _bsr_linear(editor: Editor, node: fx.Node) -> fx.Node | None:
    x, data, indices, indptr, bias, n, _ = node.args
    if not _alike(x, data, bias):
        return None
    starts = editor.value(indptr)
    order = None
    if starts is not None:
        order = editor.add_constant(f"{indptr.target}_order", heaviest_first(starts), node)
    args = (x, data, indices, indptr, order, bias, None, n, "")
    return editor.call(l0.rows_bsr_linear.default, args, before=node)


def _layer_norm(editor: Editor, node: fx.Node) -> fx.Node | None:
    given = arguments(node)
    x, weight, bias = given["input"], given["weight"], given["bias"]
    if not _over_last_axis(x, given["normalized_shape"]) or not _alike(x, weight, bias):
        return None
    args = (x, weight, bias, given["eps"], int(shape(x)[-1]), 0.0, 0.0)
    return editor.call(l0.compacted_layer_norm.default, args, before=node)


def _rms_norm(editor: Editor, node: fx.Node) -> fx.Node | None:
    given = arguments(node)
    x, weight, eps = given["input"], given["weight"], given["eps"]
    if not _over_last_axis(x, given["normalized_shape"]) or not _alike(x, weight):
        return None
    eps = torch.finfo(x.meta["val"].dtype).eps if eps is None else eps
    return editor.call(l0.compacted_rms_norm.default, (x, weight, eps, int(shape(x)[-1]), 0.0), before=node)


def _over_last_axis(x: fx.Node, normalised: Any) -> bool:
    return len(normalised) == 1 and is_static(shape(x)[-1]) and is_static(normalised[0])


def _alike(x: Any, *others: Any) -> bool:
    """Whether all operands have one floating type that kernels take; None stands for an operand that is not there."""
    own = tensor(x)
    if own is None or own.dtype not in _TYPES or not own.ndim:
        return False
    values = [tensor(other) for other in others if other is not None]
    return all(value is not None and value.dtype == own.dtype for value in values)
