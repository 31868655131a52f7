"""Transfer functions of products of two activations, and of ATen's attention."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def _matmul(node: fx.Node, view: View) -> Fact | None:
    """A row of zeros on the left, and a column of zeros on the right, give zeros."""
    left, right = node.args[0], node.args[1]
    rank = len(shape(node))
    if any(len(shape(operand)) < 2 for operand in (left, right)):
        return None
    rows, columns = view.fact(left).zero.all(-1, keepdim=True), view.fact(right).zero.all(-2, keepdim=True)
    return Fact(rows | columns, torch.zeros([1] * rank, dtype=node.meta["val"].dtype))


def _matmul_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """An element is read if it meets a nonzero element of the other side in a live result."""
    left, right = operand_of(node), operand_of(node, 1)
    if left is right or len(shape(left)) < 2 or len(shape(right)) < 2:
        return {}
    met_right = ~view.fact(right).zero.all(-1, keepdim=True).transpose(-1, -2)  # [..., 1, k]
    met_left = ~view.fact(left).zero.all(-2, keepdim=True).transpose(-1, -2)  # [..., k, 1]
    return {
        left: live.any(-1, keepdim=True) & met_right,
        right: live.any(-2, keepdim=True) & met_left,
    }


def _sdpa(node: fx.Node, view: View) -> Fact | None:
    """Values of zeros give zeros, for each head and channel; a mask may change other constants."""
    given = arguments(node)
    rank = len(shape(node))
    fact = view.fact(given["value"])
    if rank < 3:
        return None
    zero = fact.zero.all(-2, keepdim=True)
    while zero.ndim > 3:
        zero = zero.all(0)
    if zero.shape[0] not in (1, shape(node)[-3]):  # key heads shared by several query heads
        zero = zero.repeat_interleave(shape(node)[-3] // zero.shape[0], 0)
    return Fact(
        zero.reshape([1] * (rank - 3) + list(zero.shape)), torch.zeros([1] * rank, dtype=fact.value.dtype)
    )


def _sdpa_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """A head without live results needs no query, key or value; a channel of the values is read where the result is."""
    given = arguments(node)
    q, k, v = given["query"], given["key"], given["value"]
    rank = len(shape(node))
    if rank < 3 or len({q, k, v}) < 3:
        return {}
    reads = {operand: everything(operand) for operand in node.all_input_nodes}
    per_head = live.any(-2, keepdim=True)
    while per_head.ndim > 3:
        per_head = per_head.any(0)
    lead = [1] * (rank - 3)
    reads[q] = per_head.any(-1, keepdim=True).reshape(*lead, -1, 1, 1)
    mask = given["attn_mask"]
    if isinstance(mask, fx.Node) and len(shape(mask)) >= 3:
        reads[mask] = reads[q].reshape([1] * (len(shape(mask)) - 3) + [-1, 1, 1])
    shared = shape(k)[-3] == shape(q)[-3]
    if shared or per_head.shape[0] == 1:
        reads[k], reads[v] = reads[q], per_head.reshape(*lead, *per_head.shape)
    elif isinstance(shape(k)[-3], int):
        groups = per_head.reshape(shape(k)[-3], -1, 1, per_head.shape[-1]).any(1)
        reads[v], reads[k] = (
            groups.reshape(*lead, *groups.shape),
            groups.any(-1, keepdim=True).reshape(*lead, -1, 1, 1),
        )
    return reads


def _bag(node: fx.Node, view: View) -> Fact | None:
    """A column of zeros gives zeros. Any other constant depends on how many rows a bag has."""
    zero = view.fact(node.args[0]).zero.all(0, keepdim=True)
    return Fact(zero, torch.zeros([1, 1], dtype=node.meta["val"].dtype))


def _bag_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """Any row may be picked; a column is read where that of the result is."""
    x, *rest = node.all_input_nodes
    if x in rest or x is not node.args[0]:
        return {}
    return {x: live.any(0, keepdim=True), **{other: everything(other) for other in rest}}


register(torch.ops.l0compile.bag.default, forward=_bag, backward=_bag_reads)
register(*operators(matrix_product=True), forward=_matmul, backward=_matmul_reads)
register(aten.scaled_dot_product_attention.default, forward=_sdpa, backward=_sdpa_reads)
