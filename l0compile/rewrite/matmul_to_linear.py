"""Write every product with a constant weight as a linear layer."""

from typing import Any

import torch
from torch import fx

from l0compile.capture import Editor, Program
from l0compile.capture.nodes import arguments, is_op, shape, tensor

aten = torch.ops.aten


def matmul_to_linear(program: Program) -> Program:
    """addmm(bias, x, W), mm(x, W), matmul(x, W) -> linear(x, Wᵀ, bias).

    Checks: W is a constant [k, n]; x has the dtype of W and at least two axes; addmm's factors are 1 and its bias is a
        constant vector [n].
    Returns: the program, itself when there is nothing to rewrite.
    """
    editor = Editor(program)
    made: dict[str, str] = {}  # tied weights stay tied
    for node in list(editor.graph.nodes):
        found = _operands(editor, node)
        if found is None:
            continue
        x, weight_node, bias = found
        weight, name = editor.constants[str(weight_node.target)], str(weight_node.target)
        if name in made:
            with editor.graph.inserting_before(node):
                transposed = editor.graph.create_node("get_attr", made[name])
            transposed.meta["val"] = weight_node.meta["val"].t()
        else:
            transposed = editor.add_constant(f"{name}_t", weight.t(), node)
            made[name] = str(transposed.target)
        editor.replace(
            node, editor.call(aten.linear.default, (x, transposed, bias), before=node, origin=node)
        )
    return editor.finish()


def _operands(editor: Editor, node: fx.Node) -> tuple[fx.Node, fx.Node, fx.Node | None] | None:
    """(x, W, bias) of a product with a constant weight."""
    bias: Any = None
    if is_op(node, aten.addmm.default):
        given = arguments(node)
        if given["beta"] != 1 or given["alpha"] != 1:
            return None
        bias, x, weight = given["self"], given["mat1"], given["mat2"]
        value = editor.value(bias)
        if value is None or value.shape != shape(node)[-1:]:
            return None
    elif is_op(node, aten.mm.default, aten.matmul.default):
        x, weight = node.args
    else:
        return None
    value, source = editor.value(weight), tensor(x)
    if value is None or source is None or editor.value(x) is not None:
        return None
    if (
        value.ndim != 2
        or source.ndim < 2
        or source.dtype != value.dtype
        or node.meta["val"].dtype != value.dtype
    ):
        return None
    return x, weight, bias
