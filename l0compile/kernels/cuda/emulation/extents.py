"""The value of an integer expression of TIR, given the symbolic sizes in it."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from l0compile.errors import BuildError, InputError

_BINARY: dict[str, Callable[[int, int], int]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "FloorDiv": operator.floordiv,
    "FloorMod": operator.mod,
    "Div": lambda a, b: -(-a // b) if (a < 0) != (b < 0) else a // b,
    "Mod": lambda a, b: a - b * (-(-a // b) if (a < 0) != (b < 0) else a // b),
    "Min": min,
    "Max": max,
    "EQ": operator.eq,
    "NE": operator.ne,
    "LT": operator.lt,
    "LE": operator.le,
    "GT": operator.gt,
    "GE": operator.ge,
    "And": operator.and_,
    "Or": operator.or_,
    "BitwiseAnd": operator.and_,
    "BitwiseOr": operator.or_,
    "BitwiseXor": operator.xor,
    "LShift": operator.lshift,
    "RShift": operator.rshift,
}


def value_of(expression: Any, sizes: Mapping[str, int], bound: Mapping[str, Any] | None = None) -> int:
    """Return the value of ``expression``.

    sizes: by the name of a symbolic size.
    bound: name -> the expression that the host side gave it; looked up before ``sizes``.

    Raises:
        InputError: a size that is not known.
        BuildError: an expression of a kind that launches have no use for.
    """

    def value(one: Any) -> int:
        return value_of(one, sizes, bound)

    if isinstance(expression, int):
        return expression
    kind = type(expression).__name__
    if kind == "IntImm":
        return int(expression.value)
    if kind == "Var":
        if bound and expression.name in bound:
            return value(bound[expression.name])
        if expression.name not in sizes:
            raise InputError(f"size {expression.name!r} is shown by no array; give it in sizes")
        return int(sizes[expression.name])
    if kind in _BINARY:
        return int(_BINARY[kind](value(expression.a), value(expression.b)))
    if kind == "Cast":
        return value(expression.value)
    if kind == "Not":
        return int(not value(expression.a))
    if kind == "Select":
        return value(expression.true_value if value(expression.condition) else expression.false_value)
    if kind == "Call" and expression.op.name == "prim.if_then_else":
        condition, yes, no = expression.args
        return value(yes if value(condition) else no)
    raise BuildError(
        f"the size of a launch or a buffer: expected an integer expression of sizes, got {expression}"
    )
