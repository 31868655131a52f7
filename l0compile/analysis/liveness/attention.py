"""Transfer functions of attention, to all keys or to listed ones, and of ``l0compile::rope``: heads are independent."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact, reduce_to
from l0compile.analysis.liveness.table import View, register
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.ops.attention.multi_head import key_heads


def _forward(node: fx.Node, view: View) -> Fact | None:
    """The average of one constant is that constant.

    With a mask a query may have no live key and get 0, so that only zeros are known.
    """
    given = arguments(node)
    known, value = (_by_query_head(t, given) for t in view.fact(given["v"]).last_axis())
    if given["mask"] is not None:
        known = known & (value == 0)
    return Fact(known.reshape(1, 1, -1), value.reshape(1, 1, -1))


def _group(given: Mapping[str, Any]) -> int:
    """The number of query heads that share one key and value head."""
    heads = given["heads"]
    return int(heads) // key_heads(shape(given["q"])[-1], shape(given["k"])[-1], heads)


def _by_query_head(values: Tensor, given: Mapping[str, Any]) -> Tensor:
    """[1] or [kv*Dv], by feature of v -> [1] or [heads*Dv], by feature of the result."""
    group = _group(given)
    if group == 1 or values.numel() == 1:
        return values
    return values.reshape(given["heads"] // group, -1).repeat_interleave(group, 0).reshape(-1)


def live_heads(node: fx.Node, live: Tensor) -> Tensor:
    """bool [heads]: the heads with a live result."""
    width = shape(node)[-1]
    return channels(live, width).reshape(arguments(node)["heads"], -1).any(1)


def channels(live: Tensor, width: int) -> Tensor:
    """A live mask as bool [width] of the last axis."""
    return reduce_to(live, [1] * (live.ndim - 1) + [live.shape[-1]]).reshape(-1).expand(width)


def _reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    given = arguments(node)
    heads, group = live_heads(node, live), _group(given)
    width = shape(given["q"])[-1] // len(heads)
    queries = heads.repeat_interleave(width).reshape(1, 1, -1)
    keys = heads.reshape(-1, group).any(1).repeat_interleave(width).reshape(1, 1, -1)
    values = channels(live, shape(node)[-1]).reshape(len(heads) // group, group, -1).any(1).reshape(1, 1, -1)
    reads: dict[fx.Node, Tensor] = {}
    for operand, mask in ((given["q"], queries), (given["k"], keys), (given["v"], values)):
        reads[operand] = reads[operand] | mask if operand in reads else mask
    mask = given["mask"]
    if isinstance(mask, fx.Node) and len(shape(mask)) > 2:
        reads[mask] = heads.reshape([1] * (len(shape(mask)) - 3) + [-1, 1, 1])
    return reads


def _rope(node: fx.Node, view: View) -> Fact | None:
    """Zero where both features that are turned into each other are."""
    zero = view.fact(node.args[0]).zero
    zero = zero & _partner(zero, node)
    return Fact(zero, torch.zeros([1] * zero.ndim))


def _rope_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = operand_of(node)
    return {source: live | _partner(live, node)}


def _partner(mask: Tensor, node: fx.Node) -> Tensor:
    """The mask of each feature's partner in its pair: half a head away, or next to it."""
    if mask.shape[-1] == 1:
        return mask
    given = arguments(node)
    if given["interleaved"]:
        return mask.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    by_half = mask.unflatten(-1, (given["heads"], 2, -1))
    return by_half.flip(-2).flatten(-3)


def _listed(node: fx.Node, view: View) -> Fact | None:
    """Zeros stay. Other constants do not, because a row that lists no key gives 0; of logarithms nothing is known."""
    given = arguments(node)
    if given["log_sum_exp"]:
        return None
    known, value = (_by_query_head(t, given) for t in view.fact(given["v"]).last_axis())
    return Fact((known & (value == 0)).reshape(1, 1, -1), torch.zeros(1, 1, 1))


def _listed_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """As of attention; lists and a bias are read for live heads, too."""
    given = arguments(node)
    if given["log_sum_exp"]:
        return {}
    reads, heads = dict(_reads(node, live, view)), live_heads(node, live)
    for name in BY_HEAD:
        if isinstance(given[name], fx.Node):
            reads[given[name]] = heads.reshape(1, -1, *[1] * (len(shape(given[name])) - 2))
    if isinstance(given["bias"], fx.Node):
        reads[given["bias"]] = heads.reshape(-1, 1)
    return reads


BY_HEAD = (
    "full_counts", "full_blocks", "partial_counts", "partial_blocks", "pattern_numbers", "column_counts", "columns",
)  # fmt: skip
"""Operands of attention to listed keys [batch, head, row, ...]."""


register(torch.ops.l0compile.rope.default, forward=_rope, backward=_rope_reads)
register(torch.ops.l0compile.attention.default, forward=_forward, backward=_reads)
register(torch.ops.l0compile.block_attention.default, forward=_listed, backward=_listed_reads)
