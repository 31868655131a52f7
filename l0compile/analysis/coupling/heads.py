"""Attention loses whole heads; with grouped queries, a key and value head goes with all its query heads."""

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import Coupling, Grow, TensorAxis
from l0compile.analysis.coupling.contractions import by_group
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.attention import BY_HEAD
from l0compile.ir.nodes import arguments, shape, tensor
from l0compile.ir.ops.attention.multi_head import key_heads

aten = torch.ops.aten


def fused(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::attention`` on [batch, token, heads * width]: a head is ``width`` channels in a row."""
    _whole_heads(node, coupling, [])


def listed(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::block_attention``: also its lists and its bias lose heads, where they have some of their own."""
    given = arguments(node)
    if given["log_sum_exp"]:
        for other in (node, *node.all_input_nodes):
            coupling.pin_all(other, "logarithms of the sums of attention, a feature of each head")
        return
    places = [(given[name], 1) for name in BY_HEAD] + [(given["bias"], 0)]
    by_head = [place for place in places if tensor(place[0]) is not None]
    for other, head in [*by_head, (given["patterns"], -1)]:
        if tensor(other) is not None:
            for axis in coupling.axes(other):
                if axis[1] != head:
                    coupling.pin(axis, "a list of attention")
    _whole_heads(node, coupling, [axis for axis in by_head if coupling.size(axis) is not None])


def _whole_heads(node: fx.Node, coupling: Coupling, others: list[TensorAxis]) -> None:
    """``others``: axes of one channel a head that go with them."""
    given = arguments(node)
    q, k, v, mask = given["q"], given["k"], given["v"], given["mask"]
    for operand in (q, k, v):
        coupling.same(node, (node, 0), (operand, 0))
        coupling.pin((operand, 1), "tokens of attention")
    coupling.pin((node, 1), "tokens of attention")
    axes = [(q, 2), (k, 2), (v, 2), (node, 2), *others]
    if tensor(mask) is not None:
        heads = len(shape(mask)) - 3
        for axis in coupling.axes(mask):
            if axis[1] == heads:
                axes.append(axis)
            else:
                coupling.pin(axis, "a mask of attention")
    if any(coupling.size(axis) is None for axis in axes):
        for axis in axes:
            coupling.pin(axis, "a head of one channel")
    else:
        kv = key_heads(shape(q)[2], shape(k)[2], int(given["heads"]))
        coupling.link(node, axes, by_group(kv))


def sdpa(node: fx.Node, coupling: Coupling) -> None:
    """ATen's attention on [..., heads, token, width]: heads are an axis, channels of v are channels of the result."""
    given = arguments(node)
    q, k, v, mask = given["query"], given["key"], given["value"], given["attn_mask"]
    rank = len(shape(node))
    for operand in (q, k, v):
        coupling.pin((operand, rank - 2), "tokens of attention")
    coupling.pin((node, rank - 2), "tokens of attention")
    coupling.pin((q, rank - 1), "channels inside a head: they set the scale of attention")
    coupling.pin((k, rank - 1), "channels inside a head: they set the scale of attention")
    coupling.same(node, (node, rank - 1), (v, rank - 1))
    for axis in range(rank - 2):
        coupling.same(node, (node, axis), (q, axis))
        coupling.same(node, (k, axis), (v, axis))
        _query_heads(node, q, k, axis, coupling)
    if tensor(mask) is not None:
        for back in range(1, len(shape(mask)) + 1):
            if back <= 2:
                coupling.pin((mask, len(shape(mask)) - back), "tokens of attention")
            else:
                coupling.same(node, (node, rank - back), (mask, len(shape(mask)) - back))


def _query_heads(node: fx.Node, q: fx.Node, k: fx.Node, axis: int, coupling: Coupling) -> None:
    many, few = coupling.size((q, axis)), coupling.size((k, axis))
    if many is not None and few is None and arguments(node)["enable_gqa"]:
        return  # one key head serves all: query heads go freely
    if many is None or few is None or many == few:
        coupling.same(node, (q, axis), (k, axis))
    else:
        coupling.link(node, [(q, axis), (k, axis)], _shared(many // few))


def _shared(group: int) -> Grow:
    """A key head stays if any of its query heads does, and then all of them stay, since groups have one size."""

    def grow(masks: list[Tensor]) -> list[Tensor]:
        alive = masks[1] | masks[0].reshape(-1, group).any(1)
        return [alive.repeat_interleave(group), alive]

    return grow


def rope(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::rope`` loses whole heads, because the tables of angles are the same for all."""
    given = arguments(node)
    x, heads = given["x"], int(given["heads"])
    for table in (given["cos"], given["sin"]):
        coupling.same(node, (node, 0), (table, 0))
        for axis in (1, 2):
            coupling.pin((table, axis), "angles of a rotary embedding")
    for axis in range(3):
        coupling.same(node, (node, axis), (x, axis))
    for other in (node, x):
        coupling.pin((other, 1), "tokens of a rotary embedding")
    if coupling.size((node, 2)) is not None:
        coupling.link(node, [(x, 2), (node, 2)], by_group(heads))


register(torch.ops.l0compile.attention.default, rule=fused)
register(torch.ops.l0compile.block_attention.default, rule=listed)
register(torch.ops.l0compile.rope.default, rule=rope)
register(aten.scaled_dot_product_attention.default, rule=sdpa)
