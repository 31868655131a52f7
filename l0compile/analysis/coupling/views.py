"""Operators that move channels: reshapes, permutations, slices, concatenation."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import Coupling, Grow, TensorAxis
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.reshaping import axis_groups
from l0compile.analysis.liveness.views import permutation
from l0compile.ir.nodes import arguments, is_static, operand_of, shape, slice_bounds
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def reshape(node: fx.Node, coupling: Coupling) -> None:
    """The kept elements of a group of axes are the product of the kept channels of its axes, on both sides.

    [H * D] <-> [H, D]: a channel of H goes only with all its D elements, and a channel of D with all its H elements.
    """
    operand = operand_of(node)
    before, after = shape(operand), shape(node)
    for (i, end_i), (j, end_j) in axis_groups(before, after):
        old = [(operand, axis) for axis in range(i, end_i)]
        new = [(node, axis) for axis in range(j, end_j)]
        sizes = [*before[i:end_i], *after[j:end_j]]
        if all(map(is_static, sizes)):
            _regroup(node, old, new, coupling)
        else:
            for axis in (*old, *new):
                coupling.pin(axis, f"{node.target} '{node.name}' mixes them with an axis of symbolic size")


def _regroup(node: fx.Node, old: list[TensorAxis], new: list[TensorAxis], coupling: Coupling) -> None:
    old = [axis for axis in old if coupling.size(axis) is not None]
    new = [axis for axis in new if coupling.size(axis) is not None]
    if len(old) == len(new) == 1:
        coupling.same(node, old[0], new[0])
    elif old and new:
        sizes = [[coupling.size(axis) or 1 for axis in side] for side in (old, new)]
        coupling.link(node, (*old, *new), product_grow(*sizes))


def product_grow(before: Sequence[int], after: Sequence[int]) -> Grow:
    """The relation of two factorisations of the same elements."""

    def grow(masks: list[Tensor]) -> list[Tensor]:
        first, second = masks[: len(before)], masks[len(before) :]
        while True:
            wider = _project(_product(first).reshape(list(after)), second)
            wide = _project(_product(wider).reshape(list(before)), first)
            if all(map(torch.equal, wide, first)) and all(map(torch.equal, wider, second)):
                return [*wide, *wider]
            first, second = wide, wider

    return grow


def _product(masks: Sequence[Tensor]) -> Tensor:
    result = torch.ones([len(mask) for mask in masks], dtype=torch.bool)
    for axis, mask in enumerate(masks):
        result = result & mask.reshape([-1 if a == axis else 1 for a in range(len(masks))])
    return result


def _project(elements: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """Each mask with the channels added in which any element is kept."""
    rest = [[a for a in range(elements.ndim) if a != axis] for axis in range(elements.ndim)]
    return [
        mask | (elements.any(dim=others) if others else elements)
        for mask, others in zip(masks, rest, strict=True)
    ]


def permute(node: fx.Node, coupling: Coupling) -> None:
    """Output axis i is input axis order[i]."""
    for axis, old in enumerate(permutation(node)):
        coupling.same(node, (node, axis), (operand_of(node), old))


def expand(node: fx.Node, coupling: Coupling) -> None:
    """A broadcast axis is free; the others are the same."""
    operand, rank = operand_of(node), len(shape(node))
    for back in range(1, len(shape(operand)) + 1):
        coupling.same(node, (node, rank - back), (operand, len(shape(operand)) - back))


def cat(node: fx.Node, coupling: Coupling) -> None:
    """Each part is several channels in a row of the result; the other axes are the same."""
    rank = len(shape(node))
    # torch allows an empty tensor of rank 1 among others of any rank; it has no channels.
    parts = [part for part in arguments(node)["tensors"] if len(shape(part)) == rank]
    joined, start = int(arguments(node)["dim"]) % rank, 0
    for part in parts:
        for axis in range(rank):
            if axis != joined:
                coupling.same(node, (node, axis), (part, axis))
    if not all(is_static(shape(part)[joined]) for part in parts):
        for part in (node, *parts):
            coupling.pin((part, joined), "they are concatenated with an axis of symbolic size")
        return
    for part in parts:
        size = shape(part)[joined]
        _run(node, (node, joined), start, (part, joined), coupling)
        start += size


def _run(origin: fx.Node, whole: TensorAxis, start: int, part: TensorAxis, coupling: Coupling) -> None:
    """Link ``part`` with the channels of ``whole`` from ``start`` on."""
    size = shape(part[0])[part[1]]
    if coupling.size(whole) is None or size == 0:
        return
    if coupling.size(part) is None:
        # One channel: it stays, and so does its place.
        place = torch.zeros(shape(whole[0])[whole[1]], dtype=torch.bool)
        place[start : start + size] = True
        coupling.pin(whole, "an axis of size 1 is part of them", place)
        return

    def grow(masks: list[Tensor]) -> list[Tensor]:
        full, piece = masks[0].clone(), masks[1] | masks[0][start : start + size]
        full[start : start + size] = piece
        return [full, piece]

    coupling.link(origin, (whole, part), grow)


def slice_(node: fx.Node, coupling: Coupling) -> None:
    """The result is several channels in a row of the operand; a slice with steps keeps all channels."""
    operand, given = operand_of(node), arguments(node)
    rank = len(shape(node))
    cut = int(given["dim"]) % rank
    for axis in range(rank):
        if axis != cut:
            coupling.same(node, (node, axis), (operand, axis))
    bounds = slice_bounds(node)
    if bounds is None or bounds[3] != 1:
        for tensor in (node, operand):
            coupling.pin(
                (tensor, cut), f"{node.target} '{node.name}' takes a part of them that is not a fixed run"
            )
    elif coupling.size((operand, cut)) is not None:
        _run(node, (operand, cut), bounds[1], (node, cut), coupling)


def select(node: fx.Node, coupling: Coupling) -> None:
    """One channel of an axis; the axis itself is gone from the result."""
    operand, given = operand_of(node), arguments(node)
    dim = int(given["dim"]) % len(shape(operand))
    for axis in range(len(shape(operand))):
        if axis != dim:
            coupling.same(node, (operand, axis), (node, axis - (axis > dim)))
    size = coupling.size((operand, dim))
    if size is None:
        return
    if not is_static(given["index"]):
        coupling.pin((operand, dim), "which of them is selected depends on a size")
        return
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[int(given["index"])] = True
    coupling.pin((operand, dim), "one of them is selected", chosen)


def stack(node: fx.Node, coupling: Coupling) -> None:
    """A new axis, which keeps all its entries; the others are the same."""
    dim = int(arguments(node)["dim"]) % len(shape(node))
    coupling.pin((node, dim), "tensors are stacked along them")
    for part in node.args[0]:
        assert isinstance(part, fx.Node)
        for axis in range(len(shape(part))):
            coupling.same(node, (node, axis + (axis >= dim)), (part, axis))


register(*operators(moves="reshape"), rule=reshape)
register(*operators(moves="permute"), rule=permute)
register(aten.expand.default, rule=expand)
register(aten.cat.default, rule=cat)
register(aten.slice.Tensor, rule=slice_)
register(aten.select.int, rule=select)
register(aten.stack.default, rule=stack)
