"""fuse_epilogue: activation and residual addition move into the linear kernel that feeds them."""

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import same_shape, shape
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_ACTIVATION = {
    aten.relu.default: "relu",
    aten.silu.default: "silu",
    aten.tanh.default: "tanh",
    aten.sigmoid.default: "sigmoid",
}
_RESIDUAL, _ACTIVATION_ARG = 5, 7  # positions in l0compile::packed_linear


def fuse_epilogue(program: Program) -> Program:
    """Rewrite: act(packed_linear(x)) -> packed_linear(x, act); packed_linear(x) + r -> packed_linear(x, residual=r).

    Checks: nothing else reads the linear's result; an activation is fused before a residual, never after;
    the other summand has the result's own shape and is computed before the linear.
    Returns: the program with fewer nodes.
    """
    editor = Editor(program)
    order = {node: position for position, node in enumerate(editor.graph.nodes)}
    for node in list(editor.graph.nodes):
        activation = _activation_name(node)
        if activation and _is_plain_linear(node.args[0], activation=""):
            _fuse(editor, node, node.args[0], _ACTIVATION_ARG, activation)
        elif node.target == aten.add.Tensor and node.kwargs.get("alpha", 1) == 1:
            _fuse_residual(editor, node, order)
    return editor.finish()


def _activation_name(node: fx.Node) -> str | None:
    if node.target == aten.gelu.default:
        return "gelu_tanh" if node.kwargs.get("approximate") == "tanh" else "gelu"
    return _ACTIVATION.get(node.target)


def _is_plain_linear(node: object, activation: str | None = None) -> bool:
    """A packed linear that only one node reads and that has no residual (and, if asked, that activation) yet."""
    if not isinstance(node, fx.Node) or node.target != l0.packed_linear.default or len(node.users) != 1:
        return False
    return node.args[_RESIDUAL] is None and (activation is None or node.args[_ACTIVATION_ARG] == activation)


def _fuse_residual(editor: Editor, node: fx.Node, order: dict[fx.Node, int]) -> None:
    for linear, other in (node.args[:2], node.args[1::-1]):
        if not _is_plain_linear(linear) or not isinstance(other, fx.Node) or linear is other:
            continue
        if same_shape(shape(other), shape(linear)) and order[other] < order[linear]:
            _fuse(editor, node, linear, _RESIDUAL, other)
            return


def _fuse(editor: Editor, node: fx.Node, linear: fx.Node, position: int, value: object) -> None:
    args = list(linear.args)
    args[position] = value
    linear.args = tuple(args)
    editor.replace(node, linear)
