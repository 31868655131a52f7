"""Fold gates on activations into the parameters of the layers beside them."""

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.pointwise import spread_gate
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.program import Program
from l0compile.rewrite.linear_layers import linear_weight, new_linear, reads_as_input

aten = torch.ops.aten


def fold_gates(program: Program) -> Program:
    """Fold gates on activations into the layers beside them; ``fold_constants`` folds those on weights.

    Rewrite: gate(linear(x, W, b), z) -> linear(x, z W, z b), rows and bias;
        gate(layer_norm(x, w, b), z) -> layer_norm(x, z w, z b);
        linear(gate(x, z), W, b) -> linear(x, W z, b), columns, if only linear layers read the gate;
        any other gate(x, z) -> mul(x, z) with z spread over its blocks.
    Checks: z is constant and acts on the last axis alone; the producer has no other reader. A gate before an
        activation is never moved past it, so act(0) != 0 needs no care here (exactness rule 1): compaction reads the
        constant from liveness.
    Returns: the program, itself when it holds no gate.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, torch.ops.l0compile.gate.default) and editor.value(node.args[1]) is not None:
            _fold(editor, node)
    return editor.finish()


def _fold(editor: Editor, node: fx.Node) -> None:
    source, block = node.args[0], node.args[2]
    assert isinstance(source, fx.Node) and isinstance(block, (list, tuple))
    sizes = shape(node)[-len(block) :]
    if not all(isinstance(size, int) for size in sizes):
        return
    grid = editor.value(node.args[1])
    assert grid is not None
    z = spread_gate(grid, sizes, block)
    if bool((z == 1).all()):
        editor.replace(node, source)
    elif z.ndim == 1 and _into_producer(editor, source, node, z):
        return
    elif z.ndim == 1 and all(reads_as_input(editor, user, node) for user in node.users):
        _into_consumers(editor, source, node, z)
    else:
        vector = editor.add_constant(f"{node.args[1].target}_spread", z, node)
        editor.replace(node, editor.call(aten.mul.Tensor, (source, vector), before=node))


def _into_producer(editor: Editor, source: fx.Node, gate: fx.Node, z: Tensor) -> bool:
    if len(source.users) > 1:
        return False
    found = linear_weight(editor, source)
    if found is not None:
        weight, bias = found
        created = new_linear(editor, source, weight * z[:, None], None if bias is None else bias * z)
        editor.replace(gate, created)
        return True
    return is_op(source, aten.layer_norm.default) and _into_norm(editor, source, gate, z)


def _into_norm(editor: Editor, norm: fx.Node, gate: fx.Node, z: Tensor) -> bool:
    given = arguments(norm)
    weight, bias = editor.value(given["weight"]), editor.value(given["bias"])
    if weight is None or weight.ndim != 1 or (given["bias"] is not None and bias is None):
        return False
    scaled = editor.add_constant(str(given["weight"].target), weight * z, norm)
    shifted = None if bias is None else editor.add_constant(str(given["bias"].target), bias * z, norm)
    args = (given["input"], given["normalized_shape"], scaled, shifted, given["eps"])
    created = editor.call(aten.layer_norm.default, args, before=norm, origin=norm)
    created.meta["val"] = norm.meta["val"]
    editor.replace(gate, created)
    return True


def _into_consumers(editor: Editor, source: fx.Node, gate: fx.Node, z: Tensor) -> None:
    for user in list(gate.users):
        found = linear_weight(editor, user)
        assert found is not None
        weight, bias = found
        new_linear(editor, user, weight * z, bias)
    editor.replace(gate, source)
