"""The table of coupling rules, one for each operator. An operator without one keeps all its channels."""

from collections.abc import Callable
from typing import Any

from torch import fx

from l0compile.analysis.coupling.axes import Coupling
from l0compile.errors import RewriteError

CouplingRule = Callable[[fx.Node, Coupling], None]

_TABLE: dict[Any, CouplingRule] = {}


def register(*targets: Any, rule: CouplingRule) -> None:
    """Add a rule for operators. It states links and pins; what it does not mention is free.

    Raises:
        RewriteError: an operator already has a rule.
    """
    for target in targets:
        if target in _TABLE:
            raise RewriteError(f"coupling: {target} already has a rule; state it in one place")
        _TABLE[target] = rule


def lookup(node: fx.Node) -> CouplingRule | None:
    """The rule of a node's operator; None without one."""
    return _TABLE.get(node.target) if node.op == "call_function" else None


def supported() -> tuple[str, ...]:
    """Names of the operators with a rule."""
    return tuple(sorted(str(target) for target in _TABLE))
