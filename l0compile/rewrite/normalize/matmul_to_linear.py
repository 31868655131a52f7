"""Write every product with a constant weight as a linear layer."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten


def matmul_to_linear(program: Program) -> Program:
    """Write every product with a constant weight as a linear layer.

    Rewrite: addmm(bias, x, W), mm(x, W), matmul(x, W) -> linear(x, Wᵀ, bias). Where x is a reshape that flattened the
        axes before the last, the layer reads the tensor before the reshape, and its result is flattened instead.
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
        flat = _flattened(x)
        source = x if flat is None else flat[0]
        result = editor.call(aten.linear.default, (source, transposed, bias), before=node, origin=node)
        if flat is not None:
            sizes = [*flat[1], int(weight.shape[1])]
            result = editor.call(aten.reshape.default, (result, sizes), before=node)
        editor.replace(node, result)
    return editor.finish()


def _flattened(node: fx.Node) -> tuple[fx.Node, list[Any]] | None:
    """(y, sizes before the last one) of a reshape of y that keeps the last axis."""
    if not is_op(node, aten.reshape.default, aten.view.default):
        return None
    source, sizes = node.args
    if len(shape(source)) < 2 or not same_size(shape(source)[-1], shape(node)[-1]):
        return None
    return source, list(sizes[:-1])


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
    elif facts_of(node).matrix_product:
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
