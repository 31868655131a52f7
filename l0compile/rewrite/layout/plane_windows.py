"""Convolutions and poolings on planes: the packed operator of each."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.ops.bsr import dense_blocks, nonzero_blocks, to_blocks
from l0compile.ir.ops.planes import Planes
from l0compile.rewrite.formats.winograd import readable, winograd_height, winograd_layout, winograd_weight
from l0compile.rewrite.layout.plane_operands import order_of
from l0compile.rewrite.layout.plane_packing import PlanePacking
from l0compile.rewrite.layout.transposed_conv import TAPS
from l0compile.rewrite.windows import MEANS

aten, l0 = torch.ops.aten, torch.ops.l0compile


def convolution(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A dense, grouped or depthwise convolution with a constant weight."""
    if node not in state.windows:
        return None
    given = arguments(node)
    weight = state.editor.value(given["weight"])
    assert weight is not None
    groups, stem, n = given["groups"], str(given["weight"].target), weight.shape[0]
    x, places, source, result = state.read(node)
    if groups == weight.shape[1] * groups == n:
        return _depthwise(state, node, weight, x, places, result)
    gaps = groups > 1 or TAPS in node.meta
    if not gaps and (call := _winograd(state, node, weight, x, source, result)) is not None:
        return call
    if gaps:
        matrix = _ungrouped(weight, groups) if groups > 1 else weight.flatten(1)
        taps = node.meta.get(TAPS)
        live = None if taps is None else nonzero_blocks(taps.flatten(1), state.rows, 1)
        blocks, columns, starts = to_blocks(matrix, state.rows, 1, live)
        indptr = state.editor.add_constant(f"{stem}_indptr", starts, node)
    else:
        blocks, columns, indptr = dense_blocks(weight.flatten(1), state.rows), None, None
    data = state.editor.add_constant(f"{stem}_planes", blocks, node)
    x, table = _offsets(state, node, stem, weight.shape[1] * groups, columns, (x, places, source))
    args = (x, data, table, indptr, given["bias"], None, n, result.numbers(), "")
    return state.editor.call(l0.packed_conv2d.default, args, before=node)


def bsr_convolution(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A convolution whose weight is stored in blocks."""
    if node not in state.windows:
        return None
    given = arguments(node)
    x, places, source, result = state.read(node)
    n, channels = given["weight"][:2]
    columns, stem = state.editor.value(given["indices"]), str(given["data"].target)
    x, table = _offsets(state, node, stem, channels, columns, (x, places, source))
    args = (x, given["data"], table, given["indptr"], given["bias"], None, n, result.numbers(), "")
    return state.editor.call(l0.packed_conv2d.default, args, before=node)


def _offsets(
    state: PlanePacking,
    node: fx.Node,
    stem: str,
    channels: int,
    columns: Tensor | None,
    read: tuple[fx.Node, list[int], Planes],
) -> tuple[fx.Node, fx.Node]:
    """(input, constant [columns]: where each column of the weight reads in it); ``columns`` None: all in order."""
    x, places, source = read
    tap, order = torch.tensor(places), torch.arange(channels)
    selected = order_of(state.editor, node.args[0])
    # The offsets of a weight's columns differ by definition, so a channel that is selected twice has to be copied.
    once = selected is not None and len(selected[1].unique()) == len(selected[1])
    if once and selected is not None and selected[0] in state.packed and state.windows[node].keeps_size:
        # The channels are read where they are: nothing is copied.
        x, order = state.packed[selected[0]], selected[1]
    offsets = (order[:, None] * source.size + tap).flatten()
    offsets = offsets if columns is None else offsets[columns.long()]
    return x, state.editor.add_constant(f"{stem}_offsets", offsets.to(torch.int32), node)


def _winograd(
    state: PlanePacking, node: fx.Node, weight: Tensor, x: fx.Node, source: Planes, result: Planes
) -> fx.Node | None:
    """A dense 3x3 convolution with fewer products, where that pays."""
    n, channels = weight.shape[:2]
    m = winograd_height(state.windows[node], channels, n)
    if m is None or not readable(source):
        return None
    given, layout = arguments(node), winograd_layout(source, m)
    if (key := (x, m)) not in state.made:
        seen = (x, source.numbers(), layout.numbers(), m)
        state.made[key] = state.editor.call(l0.winograd_planes.default, seen, before=node)
    stem = str(given["weight"].target)
    names, parts = ("winograd", "winograd_offsets"), winograd_weight(weight, layout, m, state.rows)
    constants = [
        state.editor.add_constant(f"{stem}_{name}", part, node)
        for name, part in zip(names, parts, strict=True)
    ]
    sizes = (n, layout.numbers(), result.numbers(), m)
    args = (state.made[key], *constants, given["bias"], None, *sizes, "")
    return state.editor.call(l0.packed_winograd.default, args, before=node)


def _depthwise(
    state: PlanePacking, node: fx.Node, weight: Tensor, x: fx.Node, places: list[int], result: Planes
) -> fx.Node:
    given = arguments(node)
    data = state.editor.add_constant(f"{given['weight'].target}_planes", weight.flatten(1), node)
    args = (x, data, given["bias"], weight.shape[0], places, result.numbers(), "")
    return state.editor.call(l0.packed_window.default, args, before=node)


def pooling(state: PlanePacking, node: fx.Node) -> fx.Node | None:
    """A maximum or a mean over windows of an image that is in planes already."""
    if node not in state.windows or node.args[0] not in state.packed:
        return None
    window, data = state.windows[node], None
    mean = node.target in MEANS
    lowest = not mean and window.reaches_out and not _not_negative(node.args[0])
    x, places, _, result = state.read(node, lowest)
    if mean:
        weight = torch.full((int(shape(node)[1]), len(window.taps)), 1.0 / len(window.taps))
        data = state.editor.add_constant(f"{node.name}_weight", weight, node)
    args = (x, data, None, int(shape(node)[1]), places, result.numbers(), "")
    return state.editor.call(l0.packed_window.default, args, before=node)


def _not_negative(node: Any) -> bool:
    """Whether no number of an image is below 0, so that zeros around it never are the maximum of a window."""
    if is_op(node, aten.hardtanh.default, aten.clamp.default):
        low = list(arguments(node).values())[1]
        return low is not None and low >= 0
    if facts_of(node).window == "max":
        return _not_negative(node.args[0])
    return facts_of(node).not_negative


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """A grouped weight [n, C / groups, ...] as the block-diagonal matrix [n, C * taps] that it is."""
    n, own = weight.shape[0], weight[0].numel()
    matrix = weight.new_zeros(groups, n // groups, groups, own)
    matrix[torch.arange(groups), :, torch.arange(groups)] = weight.reshape(groups, n // groups, own)
    return matrix.reshape(n, groups * own)
