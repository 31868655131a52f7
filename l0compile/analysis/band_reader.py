"""Masks that follow from positions: which distances from a query to a key they let through."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.band import Band, band_of_mask
from l0compile.analysis.index_facts import IndexFact
from l0compile.ir.nodes import arguments, is_float, is_op, same_shape, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of

aten = torch.ops.aten

_INTEGERS = (torch.int32, torch.int64)


@dataclass(frozen=True)
class _PositionSum:
    """The value ``key`` times the position of the key + ``query`` times that of the query + ``offset``."""

    key: int
    query: int
    offset: int

    def plus(self, other: "_PositionSum", sign: int = 1) -> "_PositionSum":
        return _PositionSum(
            self.key + sign * other.key, self.query + sign * other.query, self.offset + sign * other.offset
        )


@dataclass(frozen=True)
class BandReader:
    """Reads the masks of one attention, whose last two axes are queries and keys.

    Attributes:
        facts: of integer and bool nodes, by name.
        value: of a node that is a constant, else None.
        queries: how many there are; positions count from 0.
        keys: likewise.
        known: bands of constants that were read already, by name.
    """

    facts: Mapping[str, IndexFact]
    value: Callable[[Any], Tensor | None]
    queries: Any
    keys: Any
    known: dict[str, Band | None] = field(default_factory=dict)

    def band(self, node: Any) -> Band | None:
        """The band in which a mask is true, or not 0; None where that is not proved."""
        return self._band(node, whole=True)

    def _band(self, node: Any, whole: bool) -> Band | None:
        """``whole``: the node's own last axes are the queries and keys, and not only their beginning."""
        if tensor(node) is None:
            return None
        fits = not whole or self._fits(node)
        if self.value(node) is not None:
            return self._of_constant(node) if fits else None
        facts = facts_of(node)
        if self._uniform(node) == 1 or _filler(node):
            return Band()
        if is_op(node, aten.tril.default, aten.triu.default):
            return self._triangle(node, whole) if fits else None
        if is_op(node, aten.slice.Tensor):
            return self._band(node.args[0], False) if fits and _is_beginning(node) else None
        if facts.moves == "reshape":
            kept = same_shape(shape(node)[-2:], shape(node.args[0])[-2:])
            return self._band(node.args[0], whole) if kept else None
        if facts.moves in ("copy", "repeat"):
            return self._band(node.args[0], whole) if _keeps_zero(node) else None
        if facts.logic == "and":
            left, right = (self._band(arg, whole) for arg in node.args[:2])
            return None if left is None or right is None else left & right
        if is_op(node, aten.logical_not.default, aten.bitwise_not.default):
            inner = self._band(node.args[0], whole) if node.meta["val"].dtype == torch.bool else None
            return inner.complement if inner else None
        return self._compared(node)

    def _fits(self, node: fx.Node) -> bool:
        return same_shape(shape(node)[-2:], (self.queries, self.keys))

    def _uniform(self, node: fx.Node) -> int | None:
        fact = self.facts.get(node.name)
        return fact.uniform if fact else None

    def _of_constant(self, node: fx.Node) -> Band | None:
        name, value = str(node.target), self.value(node)
        if name not in self.known:
            assert value is not None
            self.known[name] = band_of_mask(value != 0)
        return self.known[name]

    def _triangle(self, node: fx.Node, whole: bool) -> Band | None:
        given = arguments(node)
        inner, diagonal = self._band(given["self"], whole), given["diagonal"]
        if inner is None or not isinstance(diagonal, int):
            return None
        return inner & (Band(None, diagonal) if is_op(node, aten.tril.default) else Band(diagonal, None))

    def _compared(self, node: fx.Node) -> Band | None:
        """The band of ``left <= right`` and its like, of positions or of their distance."""
        sign, strict = _ORDERS.get(node.target, (0, 0))
        if not sign:
            return None
        left, right = node.args[:2] if sign > 0 else node.args[1::-1]  # left <= right
        distance, limit = self._distance(left), self._line(right)
        if distance is not None and limit is not None and (limit.key, limit.query) == (0, 0):
            reach = limit.offset - strict
            return _reached(distance, -reach, reach)
        line, limit = self._line(left), self._line(right)
        if line is None or limit is None:
            return None
        return _reached(line.plus(limit, -1), None, -strict)

    def _distance(self, node: Any) -> _PositionSum | None:
        """What a node is the absolute value of."""
        return self._line(node.args[0]) if is_op(node, aten.abs.default) else None

    def _line(self, node: Any) -> _PositionSum | None:
        if isinstance(node, int):
            return _PositionSum(0, 0, node)
        if tensor(node) is None or node.meta["val"].dtype not in _INTEGERS:
            return None
        fact = self.facts.get(node.name)
        if fact is not None and fact.low is not None and (fact.axis is not None or fact.uniform is not None):
            return self._counted(node, fact.low, fact.axis)
        facts = facts_of(node)
        if facts.moves in ("copy", "repeat"):
            return self._line(node.args[0])
        if facts.moves == "reshape" and same_shape(shape(node)[-2:], shape(node.args[0])[-2:]):
            return self._line(node.args[0])
        return self._sum(node)

    def _counted(self, node: fx.Node, low: int, axis: int | None) -> _PositionSum | None:
        if axis is None:
            return _PositionSum(0, 0, low)
        place = axis - len(shape(node))
        # An axis of another size would be broadcast, and its positions be no positions of keys or queries.
        if place == -1 and same_size(shape(node)[axis], self.keys):
            return _PositionSum(1, 0, low)
        if place == -2 and same_size(shape(node)[axis], self.queries):
            return _PositionSum(0, 1, low)
        return None

    def _sum(self, node: fx.Node) -> _PositionSum | None:
        sign = 1 if is_op(node, *_ADD) else -1
        if is_op(node, aten.neg.default):
            line = self._line(node.args[0])
            return None if line is None else _PositionSum(0, 0, 0).plus(line, -1)
        if not is_op(node, *_ADD, *_SUBTRACT, aten.rsub.Scalar) or arguments(node).get("alpha", 1) != 1:
            return None
        left, right = (self._line(arg) for arg in node.args[:2])
        if left is None or right is None:
            return None
        return right.plus(left, -1) if is_op(node, aten.rsub.Scalar) else left.plus(right, sign)


_ADD, _SUBTRACT = (aten.add.Tensor, aten.add.Scalar), (aten.sub.Tensor, aten.sub.Scalar)
# Comparison -> (1: the left side is at most the right one, -1: at least; 1 where they must differ).
_ORDERS: dict[Any, tuple[int, int]] = {
    getattr(getattr(aten, name), kind): order
    for name, order in (("le", (1, 0)), ("lt", (1, 1)), ("ge", (-1, 0)), ("gt", (-1, 1)))
    for kind in ("Tensor", "Scalar")
}


def _reached(line: _PositionSum, low: int | None, high: int | None) -> Band | None:
    """The band of low <= line <= high; None where the line is not plus or minus the distance."""
    if (line.key, line.query) == (1, -1):
        return Band(None if low is None else low - line.offset, None if high is None else high - line.offset)
    if (line.key, line.query) == (-1, 1):
        return Band(None if high is None else line.offset - high, None if low is None else line.offset - low)
    return None


def _filler(node: fx.Node) -> float:
    """The number that a tensor is filled with; 0 where there is none."""
    fills = facts_of(node).fills
    number = arguments(node)["fill_value"] if fills == "fill_value" else fills
    return float(number) if isinstance(number, (bool, int, float)) else 0.0


def _keeps_zero(node: fx.Node) -> bool:
    """Whether a copy is 0 where, and only where, the original is: a fraction would become 0 among integers."""
    dtype = node.meta["val"].dtype
    return dtype == torch.bool or dtype.is_floating_point or not is_float(node.args[0])


def _is_beginning(node: fx.Node) -> bool:
    """Whether a slice keeps the first queries or keys, or cuts another axis."""
    given = arguments(node)
    axis, rank = given["dim"] % len(shape(node)), len(shape(node))
    return axis < rank - 2 or (given["start"] in (None, 0) and given["step"] == 1)
