"""Proof that a part of a traced function depends on query and key by their distance only."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.frontend.flex.mod import Mod

aten = torch.ops.aten

_COMPARISONS = {
    overload
    for name in ("ge", "gt", "le", "lt", "eq", "ne")
    for overload in (getattr(aten, name).Tensor, getattr(aten, name).Scalar)
}
PlaceLine = tuple[int, int, int]
"""(a, b, c) of a * query + b * key + c, in whole numbers."""


def by_distance(mod: Mod, node: fx.Node) -> bool:
    """Return whether ``node`` is the same for all pairs (query, key) of one distance, for each head.

    It may then be computed with the distance for the query and 0 for the key.

    A node is, if it depends on neither; if it is a line a * (query - key) + c; if it compares two lines whose
    difference is such a line; or if all its operands are, for no operator of a traced function has memory.
    """
    lines: dict[fx.Node, PlaceLine | None] = {}
    proven: dict[fx.Node, bool] = {}
    for own in mod.module.graph.nodes:
        if own.op == "output":
            break
        lines[own] = _line(mod, own, lines)
        proven[own] = _is_proven(mod, own, lines, proven)
    return proven[node] and not mod.reads(node) & {"score", "batch"}


def _is_proven(
    mod: Mod, node: fx.Node, lines: Mapping[fx.Node, PlaceLine | None], proven: Mapping[fx.Node, bool]
) -> bool:
    line = lines[node]
    if line is not None:
        return line[0] == -line[1]
    if node.op == "placeholder":
        return mod.inputs[node] not in ("query", "key")
    if node.target in _COMPARISONS:
        sides = [_line_of(side, lines) for side in node.args[:2]]
        if sides[0] is not None and sides[1] is not None:
            return sides[0][0] - sides[1][0] == -(sides[0][1] - sides[1][1])
    return all(proven[source] for source in node.all_input_nodes)


def _line(mod: Mod, node: fx.Node, lines: Mapping[fx.Node, PlaceLine | None]) -> PlaceLine | None:
    if node.op == "placeholder":
        return {"query": (1, 0, 0), "key": (0, 1, 0)}.get(mod.inputs[node])
    args: Any = node.args
    if node.kwargs:
        return None  # alpha, or another dtype
    match node.target:
        case aten.add.Tensor | aten.add.Scalar | operator.add:
            return _sum(_line_of(args[0], lines), _line_of(args[1], lines), 1)
        case aten.sub.Tensor | aten.sub.Scalar | operator.sub:
            return _sum(_line_of(args[0], lines), _line_of(args[1], lines), -1)
        case aten.rsub.Scalar | aten.rsub.Tensor if len(args) == 2:
            return _sum(_line_of(args[1], lines), _line_of(args[0], lines), -1)
        case aten.neg.default:
            return _sum((0, 0, 0), _line_of(args[0], lines), -1)
    return None


def _line_of(argument: Any, lines: Mapping[fx.Node, PlaceLine | None]) -> PlaceLine | None:
    if isinstance(argument, fx.Node):
        return lines[argument]
    whole = isinstance(argument, int) and not isinstance(argument, bool)
    return (0, 0, argument) if whole else None


def _sum(left: PlaceLine | None, right: PlaceLine | None, sign: int) -> PlaceLine | None:
    if left is None or right is None:
        return None
    return (left[0] + sign * right[0], left[1] + sign * right[1], left[2] + sign * right[2])
