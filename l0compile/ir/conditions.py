"""Conditions on the sizes of a call, as plain data: what tracing assumed beyond the range of each size.

A condition is a tree of nested tuples: a number, the name of a size symbol, or ``(operator, operand, ...)``. It can
be written as JSON and is evaluated by walking the tree, so that an artifact contains it without containing code.
"""

import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

Condition = int | float | str | tuple[Any, ...]

OPERATORS: dict[str, Callable[..., Any]] = {
    "+": lambda *values: sum(values),
    "*": lambda *values: reduce(operator.mul, values),
    "**": operator.pow,
    "//": operator.floordiv,
    "/": operator.truediv,
    "float": float,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "%": operator.mod,
    "min": min,
    "max": max,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "not": operator.not_,
}


def evaluate(condition: Condition, sizes: Mapping[str, int]) -> Any:
    """The value of ``condition`` for the sizes of one call: a number, or a bool for a relation."""
    if isinstance(condition, int | float):
        return condition
    if isinstance(condition, str):
        return sizes[condition]
    name, *operands = condition
    return OPERATORS[name](*(evaluate(operand, sizes) for operand in operands))


def holds(condition: Condition, sizes: Mapping[str, int]) -> bool:
    """Whether a relation is true for these sizes; one that divides by a size of 0 is not."""
    try:
        return bool(evaluate(condition, sizes))
    except ZeroDivisionError:
        return False


def symbols(condition: Condition) -> set[str]:
    """The size symbols in ``condition``."""
    if isinstance(condition, int | float):
        return set()
    if isinstance(condition, str):
        return {condition}
    return set().union(*map(symbols, condition[1:]))


def show(condition: Condition, labels: Mapping[str, str]) -> str:
    """``condition`` as text, with the names that the user gave to sizes."""
    if isinstance(condition, int | float):
        return str(condition)
    if isinstance(condition, str):
        return labels.get(condition, condition)
    name, *operands = condition
    texts = [show(operand, labels) for operand in operands]
    if name in ("min", "max", "not", "float", "trunc", "floor", "ceil"):
        return f"{name}({', '.join(texts)})"
    return "(" + f" {name} ".join(texts) + ")"


def from_json(value: Any) -> Condition:
    """Return a condition as it was before JSON turned its tuples into lists.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, int | float | str):
        return value
    if not isinstance(value, list | tuple) or not value or value[0] not in OPERATORS:
        raise ValueError(f"expected a condition such as ['<', 's0', 512], got {value!r}")
    return (value[0], *map(from_json, value[1:]))
