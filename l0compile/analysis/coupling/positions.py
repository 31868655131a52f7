"""Operators on the positions of some axes, which leave the channels of the other axes alone."""

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import Coupling, Grow
from l0compile.analysis.coupling.contractions import by_group
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.windows import WINDOWS
from l0compile.ir.nodes import arguments, operand_of, shape, tensor
from l0compile.ir.operator_facts import facts_of, operators

aten = torch.ops.aten


def spatial(node: fx.Node, coupling: Coupling) -> None:
    """Pooling and resampling: the last axes are positions, the axes before them stay the same."""
    x, first = node.args[0], len(shape(node)) - facts_of(node).positions
    assert isinstance(x, fx.Node)
    for axis in range(len(shape(node))):
        if axis < first:
            coupling.same(node, (node, axis), (x, axis))
        else:
            coupling.pin((node, axis), f"positions of {node.target}")
            coupling.pin((x, axis), f"positions of {node.target}")


def pixel_shuffle(node: fx.Node, coupling: Coupling) -> None:
    """[batch, channels * r * r, height, width] <-> [batch, channels, height * r, width * r].

    r * r channels go together with the one that they make.
    """
    x = operand_of(node)
    rank = len(shape(node))
    for axis in range(rank - 3):
        coupling.same(node, (node, axis), (x, axis))
    for axis in (rank - 2, rank - 1):
        coupling.pin((node, axis), f"positions of {node.target}")
        coupling.pin((x, axis), f"positions of {node.target}")
    sides = [(x, rank - 3), (node, rank - 3)]
    if all(coupling.size(side) is not None for side in sides):
        coupling.link(node, sides, by_group(min(int(coupling.size(side) or 1) for side in sides)))
    for side in sides:
        if not all(coupling.size(other) is not None for other in sides):
            coupling.pin(side, "they make one channel")


def pad(node: fx.Node, coupling: Coupling) -> None:
    """Padded axes stay whole; the others are the same."""
    x, amounts = node.args[0], list(node.args[1])
    assert isinstance(x, fx.Node)
    rank = len(shape(node))
    for axis in range(rank):
        back = rank - 1 - axis
        if any(not isinstance(amount, int) or amount for amount in amounts[2 * back : 2 * back + 2]):
            coupling.pin((node, axis), "they are padded")
            coupling.pin((x, axis), "they are padded")
        else:
            coupling.same(node, (node, axis), (x, axis))


def made(node: fx.Node, coupling: Coupling) -> None:
    """Tensors of one number have as many channels as their readers want."""
    for operand in node.all_input_nodes:
        coupling.pin_all(operand, f"{node.target} takes its type from them")


def index_select(node: fx.Node, coupling: Coupling) -> None:
    """The indexed axis stays whole, unless the index is constant, so that channels only move; others are the same."""
    given = arguments(node)
    x, index = given["self"], given["index"]
    dim = given["dim"] % len(shape(x))
    order = coupling.program.constant(index)
    sides = [(x, dim), (node, dim)]
    coupling.pin_all(index, "they are indices")
    for axis in range(len(shape(x))):
        if axis == dim and order is not None and all(coupling.size(side) is not None for side in sides):
            coupling.link(node, sides, moved(order.reshape(-1)))
        elif axis == dim:
            coupling.pin((x, axis), "they are indexed")
            coupling.pin((node, axis), "they are indexed")
        else:
            coupling.same(node, (node, axis), (x, axis))


def moved(order: Tensor) -> Grow:
    """Channel i of the second axis is channel ``order[i]`` of the first."""

    def grow(masks: list[Tensor]) -> list[Tensor]:
        source, result = masks
        source = source.index_fill(0, order[result], True)
        return [source, result]

    return grow


def index(node: fx.Node, coupling: Coupling) -> None:
    """x[i] with one index tensor on the first axis; any other indexing keeps all channels."""
    x, indices = node.args[0], list(node.args[1])
    assert isinstance(x, fx.Node)
    given = [i for i in indices if i is not None]
    for i in given:
        coupling.pin_all(i, "they are indices")
    if len(given) == 1 and indices[0] is not None and given[0].meta["val"].dtype != torch.bool:
        grown = len(shape(given[0])) - 1
        coupling.pin((x, 0), "they are indexed")
        for axis in range(grown + 1):
            coupling.pin((node, axis), "they are indexed")
        for axis in range(1, len(shape(x))):
            coupling.same(node, (x, axis), (node, axis + grown))
        return
    coupling.pin_all(x, f"{node.target} indexes several axes")
    coupling.pin_all(node, f"{node.target} indexes several axes")


def scatter(node: fx.Node, coupling: Coupling) -> None:
    """index_add, scatter_add, gather: the indexed axis stays whole; the others are the same in every operand."""
    given = arguments(node)
    dim = given["dim"] % len(shape(node))
    for operand in (node, *node.all_input_nodes):
        if tensor(operand) is None:
            continue
        if len(shape(operand)) != len(shape(node)):  # the index vector of index_add
            coupling.pin_all(operand, "they are indices")
            continue
        for axis in range(len(shape(operand))):
            same = [_size(other, axis) for other in (node, operand)]
            if axis == dim or same[0] != same[1]:
                # torch lets an index be shorter than the operands: such an axis is not coupled one to one.
                coupling.pin((operand, axis), f"{node.target} indexes them")
                coupling.pin((node, axis), f"{node.target} indexes them")
            else:
                coupling.same(node, (node, axis), (operand, axis))


def _size(node: fx.Node, axis: int) -> object:
    return shape(node)[axis]


register(*WINDOWS, rule=spatial)
register(aten.pixel_shuffle.default, aten.pixel_unshuffle.default, rule=pixel_shuffle)
register(aten.constant_pad_nd.default, aten.pad.default, rule=pad)
register(aten.index_select.default, rule=index_select)
for _number in (0.0, 1.0, "fill_value"):
    register(*operators(fills=_number, elementwise=0), rule=made)
register(aten.index.Tensor, rule=index)
register(aten.index_add.default, aten.scatter_add.default, aten.gather.default, rule=scatter)
