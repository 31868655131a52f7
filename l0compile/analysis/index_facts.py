"""The range of integer and bool tensors, and whether they count up, as far as that follows from the graph."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from l0compile.ir.nodes import arguments, same_shape, same_size, shape, tensor
from l0compile.ir.operator_facts import facts_of, operators
from l0compile.ir.program import Program

aten = torch.ops.aten

_LARGEST_CONSTANT = 1 << 20
_ORDER = ("ge", "gt", "le", "lt", "eq", "ne")


@dataclass(frozen=True)
class IndexFact:
    """The range of the values (None: unbounded). With ``axis`` set, a value is low + its position along that axis."""

    low: int | None
    high: int | None
    axis: int | None = None

    @property
    def uniform(self) -> int | None:
        """The value that every element has; None when they may differ."""
        return self.low if self.low is not None and self.low == self.high else None


UNKNOWN = IndexFact(None, None)
_BOOL = IndexFact(0, 1)
Facts = Mapping[fx.Node, IndexFact]
RangeRule = Callable[[fx.Node, Facts], IndexFact]


def index_facts(program: Program) -> dict[fx.Node, IndexFact]:
    """The fact of every integer or bool tensor node; of the result of an unknown operator nothing is known."""
    facts: dict[fx.Node, IndexFact] = {}
    for node in program.graph.nodes:
        value = tensor(node)
        if value is None or value.dtype.is_floating_point or value.dtype.is_complex:
            continue
        constant = program.constant(node)
        if constant is not None:
            facts[node] = _of_constant(constant)
        else:
            fact = _rule(node)(node, facts)
            facts[node] = _BOOL if fact is UNKNOWN and value.dtype == torch.bool else fact
    return facts


def _rule(node: fx.Node) -> RangeRule:
    known = facts_of(node)
    otherwise = _cast if known.casts else _elements if known.moves else _unknown
    return _RULES.get(node.target, otherwise)


def _unknown(node: fx.Node, facts: Facts) -> IndexFact:
    return UNKNOWN


def _of_constant(value: torch.Tensor) -> IndexFact:
    if not 0 < value.numel() <= _LARGEST_CONSTANT:
        return UNKNOWN
    flat = value.reshape(-1).to(torch.int64)
    low, high = int(flat.min()), int(flat.max())
    long_axes = [axis for axis, size in enumerate(value.shape) if size > 1]
    counts = len(long_axes) == 1 and torch.equal(flat, torch.arange(low, low + len(flat)))
    return IndexFact(low, high, long_axes[0] if counts else None)


def _arange(node: fx.Node, facts: Facts) -> IndexFact:
    given = arguments(node)
    start, step = given.get("start", 0), given.get("step", 1)
    if not isinstance(start, int) or step != 1:
        return UNKNOWN
    return IndexFact(start, given["end"] - 1 if isinstance(given["end"], int) else None, 0)


def _filled(node: fx.Node, facts: Facts) -> IndexFact:
    number: Any = facts_of(node).fills
    filler = arguments(node)["fill_value"] if number == "fill_value" else int(number)
    return IndexFact(int(filler), int(filler)) if isinstance(filler, (int, bool)) else UNKNOWN


def _shifted(sign: int) -> RangeRule:
    def rule(node: fx.Node, facts: Facts) -> IndexFact:
        fact, offset = _fact(node.args[0], facts), node.args[1]
        if not isinstance(offset, int) or node.kwargs or fact.low is None:
            return UNKNOWN
        high = None if fact.high is None else fact.high + sign * offset
        return replace(fact, low=fact.low + sign * offset, high=high)

    return rule


def _unsqueeze(node: fx.Node, facts: Facts) -> IndexFact:
    fact = _fact(node.args[0], facts)
    position = int(arguments(node)["dim"]) % len(shape(node))
    return fact if fact.axis is None else replace(fact, axis=fact.axis + (position <= fact.axis))


def _expand(node: fx.Node, facts: Facts) -> IndexFact:
    fact, source = _fact(node.args[0], facts), node.args[0]
    if fact.axis is None or not isinstance(source, fx.Node):
        return fact
    axis = fact.axis + len(shape(node)) - len(shape(source))
    # An axis of one element repeats it; it no longer counts.
    return replace(fact, axis=axis if same_size(shape(node)[axis], shape(source)[fact.axis]) else None)


def _slice(node: fx.Node, facts: Facts) -> IndexFact:
    fact, given = _fact(node.args[0], facts), arguments(node)
    if fact.axis is None or given["dim"] % len(shape(node)) != fact.axis:
        return fact
    if same_size(shape(node)[fact.axis], 1) and given["start"] in (None, 0):
        return IndexFact(fact.low, fact.low)
    # Only a prefix keeps counting from the same start; any other slice keeps the range alone.
    return fact if given["start"] in (None, 0) and given["step"] == 1 else replace(fact, axis=None)


def _reshape(node: fx.Node, facts: Facts) -> IndexFact:
    """Axes of one element may come and go; the others stay what they are."""
    fact, source = _fact(node.args[0], facts), node.args[0]
    if fact.axis is None or not isinstance(source, fx.Node):
        return fact
    before, after = (
        [axis for axis, size in enumerate(shape(n)) if not same_size(size, 1)] for n in (source, node)
    )
    kept = same_shape([shape(source)[axis] for axis in before], [shape(node)[axis] for axis in after])
    return replace(fact, axis=after[before.index(fact.axis)] if kept and fact.axis in before else None)


def _difference(node: fx.Node, facts: Facts) -> IndexFact:
    """What counts up by one, continued downwards, differs by one everywhere."""
    given = arguments(node)
    fact, first = _fact(given["self"], facts), _fact(given["prepend"], facts).uniform
    if fact.low is None or fact.axis is None or given["dim"] % len(shape(node)) != fact.axis:
        return UNKNOWN
    if given["n"] != 1 or given["append"] is not None:
        return UNKNOWN
    return IndexFact(1, 1) if given["prepend"] is None or first == fact.low - 1 else UNKNOWN


def _sums(node: fx.Node, facts: Facts) -> IndexFact:
    return IndexFact(0, 0) if _fact(node.args[0], facts).uniform == 0 else UNKNOWN


def _elements(node: fx.Node, facts: Facts) -> IndexFact:
    return replace(_fact(node.args[0], facts), axis=None)


def _cast(node: fx.Node, facts: Facts) -> IndexFact:
    fact, dtype = _fact(node.args[0], facts), node.meta["val"].dtype
    if dtype != torch.bool:
        return fact if dtype in (torch.int32, torch.int64) else UNKNOWN  # A narrower type may wrap.
    if fact.uniform == 0:
        return IndexFact(0, 0)
    return IndexFact(1, 1) if fact.low is not None and fact.low > 0 else _BOOL


def _compare(name: str) -> RangeRule:
    """Decide a comparison from the two ranges."""

    def rule(node: fx.Node, facts: Facts) -> IndexFact:
        left, right = (_fact(arg, facts) for arg in node.args[:2])
        low = None if left.low is None or right.high is None else left.low - right.high
        high = None if left.high is None or right.low is None else left.high - right.low
        verdict = _decide(name, low, high)
        return _BOOL if verdict is None else IndexFact(int(verdict), int(verdict))

    return rule


def _decide(name: str, low: int | None, high: int | None) -> bool | None:
    """The value of ``name(difference, 0)`` for differences in low..high; None when it varies."""
    possible = {
        -1: low is None or low < 0,
        0: (low is None or low <= 0) and (high is None or high >= 0),
        1: high is None or high > 0,
    }
    verdicts = {getattr(operator, name)(sign, 0) for sign, may_be in possible.items() if may_be}
    return verdicts.pop() if len(verdicts) == 1 else None


def _logic(decisive: int) -> RangeRule:
    """``and`` (0 decides) and ``or`` (1 decides) of bool tensors."""

    def rule(node: fx.Node, facts: Facts) -> IndexFact:
        values = [_fact(arg, facts).uniform for arg in node.args[:2]]
        if decisive in values:
            return IndexFact(decisive, decisive)
        return IndexFact(1 - decisive, 1 - decisive) if None not in values else _BOOL

    return rule


def _not(node: fx.Node, facts: Facts) -> IndexFact:
    value = _fact(node.args[0], facts).uniform
    return _BOOL if value is None else IndexFact(1 - value, 1 - value)


def _fact(arg: Any, facts: Facts) -> IndexFact:
    if isinstance(arg, (bool, int)):
        return IndexFact(int(arg), int(arg))
    return facts.get(arg, UNKNOWN)


_RULES: dict[Any, RangeRule] = {
    aten.arange.default: _arange,
    aten.arange.start: _arange,
    aten.arange.start_step: _arange,
    **{op: _filled for number in (0.0, 1.0, "fill_value") for op in operators(fills=number)},
    aten.add.Tensor: _shifted(1),
    aten.sub.Tensor: _shifted(-1),
    **dict.fromkeys(operators(moves="reshape"), _reshape),
    aten.unsqueeze.default: _unsqueeze,
    aten.diff.default: _difference,
    aten.cumsum.default: _sums,
    aten.expand.default: _expand,
    aten.slice.Tensor: _slice,
    **{
        getattr(getattr(aten, name), kind): _compare(name) for name in _ORDER for kind in ("Scalar", "Tensor")
    },
    **{op: _logic(0) for op in operators(logic="and")},
    **{op: _logic(1) for op in operators(logic="or")},
    **dict.fromkeys((aten.logical_not.default, aten.bitwise_not.default), _not),
}
