"""Operators that sum over channels: linear, convolution, matrix products, embedding."""

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import Coupling, Grow, TensorAxis
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.channels import known_channels
from l0compile.analysis.liveness.convolution import CONVOLUTIONS, holds_planes, is_transposed, meets_border
from l0compile.ir.nodes import arguments, operand_of, shape, tensor
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def linear(node: fx.Node, coupling: Coupling) -> None:
    """Rows of W [n, k] are channels of the result, columns are those of the input; constants go into the bias."""
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
    """Keep the constants that no bias can replace: they differ by position, or the weight is not a constant."""
    single, value = coupling.single((x, axis))
    known = coupling.known((x, axis))
    if coupling.program.constant(weight) is None:
        coupling.pin(
            (x, axis), f"{node.target} '{node.name}' multiplies them by an activation", known & (value != 0)
        )
    coupling.pin(
        (x, axis),
        f"their constants differ by position, and the bias of '{node.name}' is one number for all",
        known & ~single,
    )


def convolution(node: fx.Node, coupling: Coupling) -> None:
    """Channels are axis 1, for any rank, also transposed; a constant that meets zero padding differs at the border."""
    given = arguments(node)
    x, weight, bias, groups = given["input"], given["weight"], given["bias"], int(given["groups"])
    if len(shape(node)) != len(shape(weight)):
        for other in (node, *node.all_input_nodes):
            coupling.pin_all(other, "a convolution without a batch keeps its channels")
        return
    inputs, outputs = (0, 1) if is_transposed(node) else (1, 0)  # axes of the weight
    coupling.same(node, (node, 0), (x, 0))
    _stay(node, x, coupling)
    if bias is not None:
        coupling.same(node, (node, 1), (bias, 0))
    _fold(node, x, weight, coupling)
    if groups == 1:
        coupling.same(node, (x, 1), (weight, inputs))
        coupling.same(node, (node, 1), (weight, outputs))
    else:
        _grouped(node, x, weight, inputs, outputs, groups, coupling)


def _fold(node: fx.Node, x: fx.Node, weight: fx.Node, coupling: Coupling) -> None:
    """Keep the constants of the input that a convolution needs (rule 3).

    A channel of one number goes into the bias. One that differs by position, or meets a border, becomes a plane that is
    added to the result, where sizes are fixed. Where they are symbolic, one channel that stays carries the constants
    that meet a border.
    """
    fact = coupling.liveness.facts.get(x)
    if fact is None:
        return
    whole, value = known_channels(fact, shape(x)[1])
    coupling.pin((x, 1), "only a part of each is constant", coupling.known((x, 1)) & ~whole)
    constants = whole & (value != 0).flatten(2).any(2)[0]
    if coupling.program.constant(weight) is None:
        reason = f"they are constant, and the weight of {node.target} '{node.name}' is computed when the model runs"
        coupling.pin((x, 1), reason, constants)
    elif not holds_planes(node):
        _carry(node, x, constants, value, coupling)


def _carry(node: fx.Node, x: fx.Node, constants: Tensor, value: Tensor, coupling: Coupling) -> None:
    """Keep one channel to carry the constants that meet a border of symbolic size, which no bias can replace."""
    flat = value.flatten(2)
    differ = constants & (flat != flat[:, :, :1]).any(2)[0]
    where = (
        f"and the image of {node.target} '{node.name}' has no fixed size, or is too large to store their sum"
    )
    coupling.pin((x, 1), f"their constants differ by position, {where}", differ)
    if not meets_border(arguments(node), node):
        return
    constants, numbers = constants & ~differ, flat[0, :, 0]
    if int(arguments(node)["groups"]) == 1 and bool(constants.any()):
        reason = (
            f"one channel carries the constants of all that were removed past the padding of '{node.name}'"
        )
        chosen = torch.zeros_like(constants)
        chosen[carrier(constants, numbers)] = True
        coupling.pin((x, 1), reason, chosen)
    else:
        reason = f"they are constant and not zero, zero padding makes the border differ, {where}"
        coupling.pin((x, 1), reason, constants)


def carrier(candidates: Tensor, value: Tensor) -> int:
    """The constant channel with the largest value, of which the others are multiples."""
    return int(torch.where(candidates, value.abs(), torch.zeros((), dtype=value.dtype)).argmax())


def _grouped(
    node: fx.Node, x: fx.Node, weight: fx.Node, inputs: int, outputs: int, groups: int, coupling: Coupling
) -> None:
    """Remove only whole groups: [groups * a] of the input with [groups * b] of the result (depthwise: a = b = 1)."""
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
    """The relation of axes [groups * anything] that lose whole groups."""

    def grow(masks: list[Tensor]) -> list[Tensor]:
        alive = torch.stack([mask.reshape(groups, -1).any(1) for mask in masks]).any(0)
        return [alive.repeat_interleave(len(mask) // groups) for mask in masks]

    return grow


def _stay(node: fx.Node, x: fx.Node, coupling: Coupling) -> None:
    weight = arguments(node)["weight"]
    for axis in range(2, len(shape(node))):
        for other in (node, x, weight):
            coupling.pin((other, axis), "positions of a convolution")


def matmul(node: fx.Node, coupling: Coupling) -> None:
    """[..., m, k] @ [..., k, n]: a channel of k goes if both sides lose it, but a product of two constants stays."""
    left, right = operand_of(node), operand_of(node, 1)
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


def contract(node: fx.Node, left: TensorAxis, right: TensorAxis, coupling: Coupling) -> None:
    """Both axes lose the same channels; one stays if both sides are constant there with a product other than 0."""
    coupling.same(node, left, right)
    if coupling.size(left) is None or coupling.size(right) is None:
        return
    both = coupling.known(left) & coupling.known(right)
    zero = _zero(left, coupling) | _zero(right, coupling)
    coupling.pin(left, "a product of two constants", both & ~zero)


def _zero(axis: TensorAxis, coupling: Coupling) -> Tensor:
    single, value = coupling.single(axis)
    return single & (value == 0)


def embedding(node: fx.Node, coupling: Coupling) -> None:
    """Columns of the table are channels of the result; all rows stay, since any index may occur."""
    table, indices = operand_of(node), operand_of(node, 1)
    coupling.pin((table, 0), "rows of an embedding")
    coupling.same(node, (node, len(shape(node)) - 1), (table, 1))
    for axis in range(len(shape(indices))):
        coupling.same(node, (node, axis), (indices, axis))


def bag(node: fx.Node, coupling: Coupling) -> None:
    """Columns of x are columns of the result; all rows stay, since any may be picked."""
    x = operand_of(node)
    for other in node.all_input_nodes:
        if other is not x:
            coupling.pin_all(other, "they say which rows a bag has")
    for other in (x, node):
        coupling.pin((other, 0), "rows of a bag")
    coupling.same(node, (node, 1), (x, 1))


def _bsr_linear(node: fx.Node, coupling: Coupling) -> None:
    for other in (node, *node.all_input_nodes):
        if tensor(other) is not None:
            coupling.pin_all(other, "a block-sparse layer is final")


register(aten.linear.default, rule=linear)
register(*CONVOLUTIONS, rule=convolution)
register(*operators(matrix_product=True), rule=matmul)
register(aten.embedding.default, rule=embedding)
register(torch.ops.l0compile.bag.default, rule=bag)
register(torch.ops.l0compile.bsr_linear.default, rule=_bsr_linear)
