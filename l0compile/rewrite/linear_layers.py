"""Read the parameters of a linear layer, and replace the layer by one with others."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape

aten = torch.ops.aten


def linear_weight(editor: Editor, node: Any) -> tuple[Tensor, Tensor | None] | None:
    """(weight [n, k], bias) of a linear node whose parameters are constants, else None."""
    if not is_op(node, aten.linear.default):
        return None
    given = arguments(node)
    weight, bias = editor.value(given["weight"]), editor.value(given["bias"])
    if weight is None or weight.ndim != 2 or (given["bias"] is not None and bias is None):
        return None
    return weight, bias


def narrow_weight(editor: Editor, node: Any) -> Tensor | None:
    """The weight [n, k] of a linear layer of int8 or bfloat16 numbers whose parameters are constants, else None."""
    if not is_op(node, torch.ops.l0compile.int8_linear.default, torch.ops.l0compile.bfloat16_linear.default):
        return None
    given = arguments(node)
    others = [given.get("scale"), given["bias"]]
    if any(other is not None and editor.value(other) is None for other in others):
        return None
    return editor.value(given["weight"])


PRECISIONS = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.int8: "int8"}
"""What regions call the numbers of a weight."""


def reads_as_input(editor: Editor, user: fx.Node, node: fx.Node) -> bool:
    """Whether ``user`` is a constant-weight linear that reads ``node`` as its input and nothing else of it."""
    return linear_weight(editor, user) is not None and user.args[0] is node and user.args[1:].count(node) == 0


def new_linear(editor: Editor, node: fx.Node, weight: Tensor, bias: Tensor | None) -> fx.Node:
    """Replace ``node`` by a linear layer with the same input and other parameters.

    The parameters get new names, so that another layer with the old ones keeps them (rule 8).
    """
    given = arguments(node)
    stem = str(given["weight"].target)
    weight_node = editor.add_constant(stem, weight, node)
    bias_node = None
    if bias is not None:
        name = str(given["bias"].target) if given["bias"] is not None else f"{stem}_bias"
        bias_node = editor.add_constant(name, bias, node)
    created = editor.call(
        aten.linear.default, (given["input"], weight_node, bias_node), before=node, origin=node
    )
    if weight.shape[0] == shape(node)[-1]:
        created.meta["val"] = node.meta["val"]
    editor.replace(node, created)
    return created
