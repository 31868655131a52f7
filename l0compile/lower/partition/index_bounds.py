"""Proving that no embedding lookup leaves its table, by known ranges or by a check of the caller's input."""

from collections.abc import Container
from typing import Any

import torch
from torch import fx

from l0compile.analysis.index_facts import index_facts
from l0compile.errors import BuildError
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program

aten = torch.ops.aten

# Operators (tensor, axis, indices, ...) for which torch refuses an index outside 0..size-1.
_AXIS_READERS = {
    aten.gather.default, aten.index_select.default, aten.index_add.default, aten.scatter.src, aten.scatter.value,
    aten.scatter_add.default, aten.scatter_reduce.two,
}  # fmt: skip


def index_bounds(program: Program, skip: Container[str] = ()) -> dict[str, int]:
    """Find the inputs that the runtime has to check because they index tables.

    Args:
        program: The program.
        skip: Names of nodes to ignore, because they run where every access is checked.

    Returns:
        Placeholder name -> size of the smallest table that it indexes.

    Raises:
        BuildError: An index neither has a known range nor comes straight from an input; ``nodes`` names the lookup.
    """
    bounds: dict[str, int] = {}
    facts = index_facts(program)
    for node in program.graph.nodes:
        if node.target in _AXIS_READERS and node.name not in skip:
            _bound_axis(node, node.args[1], node.args[2], bounds)
        if node.target is torch.ops.l0compile.bag.default and node.name not in skip:
            _bound_axis(node, 0, node.args[1], bounds)
        if node.target != aten.embedding.default or node.name in skip:
            continue
        rows = int(node.args[0].meta["val"].shape[0])
        source = _source(node.args[1])
        if source.op == "placeholder":
            bounds[source.name] = min(rows, bounds.get(source.name, rows))
            continue
        if _integers_at_most(program, source, rows):
            continue
        fact = facts.get(node.args[1])
        if fact is None or fact.low is None or fact.high is None or fact.low < 0 or fact.high >= rows:
            reason = f"cannot prove that its indices stay below {rows}: they come from {source.target}"
            raise BuildError(
                f"{node.name}: {reason}; pass the indices as an input, or clamp them in the model",
                {node.name: reason},
            )
    return bounds


def _bound_axis(node: fx.Node, axis: Any, source: Any, bounds: dict[str, int]) -> None:
    """Add a bound for an input if the whole of it indexes an axis, of fixed size, of the first operand."""
    while facts_of(source).moves in ("reshape", "repeat"):
        source = source.args[0]
    shape = node.args[0].meta["val"].shape
    if source.op == "placeholder" and len(shape) and isinstance(shape[axis], int):
        bounds[source.name] = min(shape[axis], bounds.get(source.name, shape[axis]))


def _integers_at_most(program: Program, source: fx.Node, rows: int) -> bool:
    constant = program.constant(source)
    return constant is not None and (
        constant.numel() == 0 or 0 <= int(constant.min()) <= int(constant.max()) < rows
    )


def _source(node: Any) -> fx.Node:
    while facts_of(node).moves:
        node = node.args[0]
    return node
