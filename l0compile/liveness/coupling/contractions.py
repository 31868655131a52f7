"""Operators that sum over channels: linear, convolution, matrix products, embedding."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.capture.nodes import arguments, shape, tensor
from l0compile.liveness.coupling.axes import Axis, Coupling, Grow
from l0compile.liveness.coupling.table import register

aten = torch.ops.aten


def linear(node: fx.Node, coupling: Coupling) -> None:
    """Rows of W [n, k] are channels of the result, columns those of the input; a constant goes into the bias."""
    given = arguments(node)
    x, weight, bias = given["input"], given["weight"], given["bias"]
    last, columns = len(shape(x)) - 1, len(shape(weight)) - 1
    for axis in range(last):
        coupling.same(node, (node, axis), (x, axis))
    coupling.same(node, (x, last), (weight, columns))
    if columns:
        coupling.same(node, (node, len(shape(node)) - 1), (weight, 0))
    if bias is not None:
        coupling.same(node, (node, len(shape(node)) - 1), (bias, 0))
    _absorb(node, x, last, weight, coupling)


def _absorb(node: fx.Node, x: fx.Node, axis: int, weight: fx.Node, coupling: Coupling) -> None:
    """Constants that no bias can stand for stay: they differ by position, or the weight is not a constant."""
    single, value = coupling.single((x, axis))
    known = coupling.known((x, axis))
    if coupling.program.constant(weight) is None:
        coupling.pin(
            (x, axis), f"{node.target} '{node.name}' multiplies them by an activation", known & (value != 0)
        )
    coupling.pin((x, axis), "their constants differ by position (rule 3)", known & ~single)


def convolution(node: fx.Node, coupling: Coupling) -> None:
    """Any rank, also transposed: channels are axis 1; a constant through zero padding differs at the border."""
    given = arguments(node)
    x, weight, bias, groups = given["input"], given["weight"], given["bias"], int(given["groups"])
    transposed = "transpose" in str(node.target)
    inputs, outputs = (0, 1) if transposed else (1, 0)  # axes of the weight
    coupling.same(node, (node, 0), (x, 0))
    _stay(node, x, coupling)
    if bias is not None:
        coupling.same(node, (node, 1), (bias, 0))
    _absorb(node, x, 1, weight, coupling)
    if meets_border(given, node):
        _carry(x, weight, groups, coupling)
    if groups == 1:
        coupling.same(node, (x, 1), (weight, inputs))
        coupling.same(node, (node, 1), (weight, outputs))
    else:
        _grouped(node, x, weight, inputs, outputs, groups, coupling)


def _carry(x: fx.Node, weight: fx.Node, groups: int, coupling: Coupling) -> None:
    """Constants that meet a border: no bias stands for them, but one channel that stays can carry them all (rule 3)."""
    single, value = coupling.single((x, 1))
    constants = single & (value != 0)
    if groups == 1 and coupling.program.constant(weight) is not None and bool(constants.any()):
        reason = "it carries the constants of the channels that were removed past the padding (rule 3)"
        chosen = torch.zeros_like(constants)
        chosen[carrier(constants, value)] = True
        coupling.pin((x, 1), reason, chosen)
    else:
        reason = "they are constant and not zero, and zero padding makes the border differ (rule 3)"
        coupling.pin((x, 1), reason, constants)


def carrier(candidates: Tensor, value: Tensor) -> int:
    """The constant channel of largest value: the others are multiples of it."""
    return int(torch.where(candidates, value.abs(), torch.zeros((), dtype=value.dtype)).argmax())


def _grouped(
    node: fx.Node, x: fx.Node, weight: fx.Node, inputs: int, outputs: int, groups: int, coupling: Coupling
) -> None:
    """Whole groups go: [groups * a] of the input with [groups * b] of the result (depthwise: a = b = 1)."""
    whole = [
        (x, 1),
        (node, 1),
        (weight, 0),
    ]  # axis 0 of the weight is [groups * a or b], axis 1 a part of a group
    coupling.pin((weight, 1), "channels inside a group stay")
    sizes = [coupling.size(axis) for axis in whole]
    for axis, size in zip(whole[1:], sizes[1:], strict=True):
        if sizes[0] is None or size is None:
            coupling.pin(whole[0], "a group of one channel")
            coupling.pin(axis, "a group of one channel")
        elif sizes[0] == size == groups:
            coupling.same(node, whole[0], axis)
        else:
            coupling.link(node, (whole[0], axis), by_group(groups))


def by_group(groups: int) -> Grow:
    """Axes of [groups * anything] lose whole groups."""

    def grow(masks: list[Tensor]) -> list[Tensor]:
        alive = torch.stack([mask.reshape(groups, -1).any(1) for mask in masks]).any(0)
        return [alive.repeat_interleave(len(mask) // groups) for mask in masks]

    return grow


def _stay(node: fx.Node, x: fx.Node, coupling: Coupling) -> None:
    weight = arguments(node)["weight"]
    for axis in range(2, len(shape(node))):
        for other in (node, x, weight):
            coupling.pin((other, axis), "positions of a convolution")


def meets_border(given: Mapping[str, Any], node: fx.Node) -> bool:
    """Whether some results of a convolution see fewer inputs than others: it is padded, or transposed."""
    padding = given["padding"]
    if "transpose" in str(node.target) or isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, (list, tuple)) else bool(padding)


def matmul(node: fx.Node, coupling: Coupling) -> None:
    """[..., m, k] @ [..., k, n]: a channel of k goes if both sides lose it; a product of two constants stays."""
    left, right = node.args[0], node.args[1]
    assert isinstance(left, fx.Node) and isinstance(right, fx.Node)
    if len(shape(left)) < 2 or len(shape(right)) < 2:
        for other in (node, left, right):
            coupling.pin_all(other, "a product with a vector")
        return
    rank, a, b = len(shape(node)), len(shape(left)), len(shape(right))
    for back in range(3, rank + 1):
        if back <= a:
            coupling.same(node, (node, rank - back), (left, a - back))
        if back <= b:
            coupling.same(node, (node, rank - back), (right, b - back))
    coupling.same(node, (node, rank - 2), (left, a - 2))
    coupling.same(node, (node, rank - 1), (right, b - 1))
    contract(node, (left, a - 1), (right, b - 2), coupling)


def contract(node: fx.Node, left: Axis, right: Axis, coupling: Coupling) -> None:
    """Both axes lose the same channels; one stays if both sides are constant there and their product is not zero."""
    coupling.same(node, left, right)
    if coupling.size(left) is None or coupling.size(right) is None:
        return
    both = coupling.known(left) & coupling.known(right)
    zero = _zero(left, coupling) | _zero(right, coupling)
    coupling.pin(left, "a product of two constants", both & ~zero)


def _zero(axis: Axis, coupling: Coupling) -> Tensor:
    single, value = coupling.single(axis)
    return single & (value == 0)


def embedding(node: fx.Node, coupling: Coupling) -> None:
    """Columns of the table are channels of the result; all rows stay, since any index may come."""
    table, indices = node.args[0], node.args[1]
    assert isinstance(table, fx.Node) and isinstance(indices, fx.Node)
    coupling.pin((table, 0), "rows of an embedding")
    coupling.same(node, (node, len(shape(node)) - 1), (table, 1))
    for axis in range(len(shape(indices))):
        coupling.same(node, (node, axis), (indices, axis))


def _bsr_linear(node: fx.Node, coupling: Coupling) -> None:
    for other in (node, *node.all_input_nodes):
        if tensor(other) is not None:
            coupling.pin_all(other, "a block-sparse layer is final")


register(aten.linear.default, rule=linear)
register(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
    aten.conv_transpose1d.default, aten.conv_transpose2d.input, rule=convolution,
)  # fmt: skip
register(aten.matmul.default, aten.bmm.default, aten.mm.default, rule=matmul)
register(aten.embedding.default, rule=embedding)
register(torch.ops.l0compile.bsr_linear.default, rule=_bsr_linear)
