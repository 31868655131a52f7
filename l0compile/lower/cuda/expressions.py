"""Sizes as C: TensorIR expressions on the host, such as the number of blocks of a launch."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx

_TYPES = {
    "bool": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "int64": "int64_t",
    "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t", "float32": "float",
    "float64": "double",
}  # fmt: skip


def c_type(dtype: str) -> str:
    """The C type of a number.

    Raises:
        BuildError: there is none, as for float16.
    """
    if dtype not in _TYPES:
        raise BuildError(f"host code: expected a number that C has, got {dtype}")
    return _TYPES[dtype]


def c_expression(value: Any, names: Mapping[Any, str]) -> str:
    """``value`` as a C expression.

    Args:
        value: a TensorIR expression or a Python number.
        names: variable -> its name in C, or a C expression.

    Raises:
        BuildError: a variable has no name, or the expression has a part that is no arithmetic on whole numbers.
    """
    if isinstance(value, int | tirx.IntImm):
        return f"INT64_C({int(value)})"
    if isinstance(value, tirx.FloatImm):
        return repr(float(value.value))
    if isinstance(value, tirx.Var):
        found = names.get(value)
        if found is None:
            raise BuildError(f"host code: expected a size that the inputs tell, got {value.name}")
        return found
    if isinstance(value, tirx.Cast):
        return f"(({c_type(str(value.ty.dtype))}){c_expression(value.value, names)})"
    if isinstance(value, tirx.Select):
        parts = (c_expression(part, names) for part in (value.condition, value.true_value, value.false_value))
        return "({} ? {} : {})".format(*parts)
    return _binary(value, names)


def _binary(value: Any, names: Mapping[Any, str]) -> str:
    for kind, write in _operators().items():
        if isinstance(value, kind):
            return write(c_expression(value.a, names), c_expression(value.b, names))
    if isinstance(value, tirx.Not):
        return f"(!{c_expression(value.a, names)})"
    operator = str(getattr(getattr(value, "op", None), "name", ""))
    if operator in _CALLS:
        return _CALLS[operator](*(c_expression(part, names) for part in value.args))
    raise BuildError(
        f"host code: expected whole-number arithmetic on sizes, got {type(value).__name__}: {value}"
    )


def _infix(sign: str) -> Callable[..., str]:
    return lambda a, b: f"({a} {sign} {b})"


def _function(name: str) -> Callable[..., str]:
    return lambda *parts: f"{name}({', '.join(parts)})"


@functools.cache
def _operators() -> dict[Any, Callable[..., str]]:
    return {
        tirx.Add: _infix("+"), tirx.Sub: _infix("-"), tirx.Mul: _infix("*"), tirx.Div: _infix("/"),
        tirx.FloorDiv: _function("l0_floor_div"), tirx.FloorMod: _function("l0_floor_mod"), tirx.Mod: _infix("%"),
        tirx.Min: _function("l0_min"), tirx.Max: _function("l0_max"),
        tirx.EQ: _infix("=="), tirx.NE: _infix("!="), tirx.LT: _infix("<"), tirx.LE: _infix("<="),
        tirx.GT: _infix(">"), tirx.GE: _infix(">="), tirx.And: _infix("&&"), tirx.Or: _infix("||"),
        tirx.LShift: _infix("<<"), tirx.RShift: _infix(">>"), tirx.BitwiseAnd: _infix("&"), tirx.BitwiseOr: _infix("|"),
    }  # fmt: skip


_CALLS: dict[str, Callable[..., str]] = {
    "tirx.if_then_else": lambda a, b, c: f"({a} ? {b} : {c})",
    "tirx.likely": lambda a: a,
}
