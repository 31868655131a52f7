"""Rewrite sizes that a model computes in floating point as integer arithmetic on input sizes."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from torch.utils._sympy.functions import (
    CeilToInt,
    FloatTrueDiv,
    FloorDiv,
    FloorToInt,
    IntTrueDiv,
    ToFloat,
    TruncToInt,
)

ROUNDINGS = (TruncToInt, FloorToInt, CeilToInt)
_EXACT_BITS = 20  # of numerator and denominator, up to which a float counts as exact
_LARGEST_DENOMINATOR = 10_000


@lru_cache(maxsize=4096)
def integral(expression: Any) -> Any:
    """``expression`` with ``int(0.5 * h)``, ``math.ceil(n / 3)`` and others like them as divisions of integers.

    The integer form is that of exact arithmetic; :func:`uncertain` names the roundings where floating point may differ.
    What has no integer form stays.
    """
    return expression.replace(lambda e: isinstance(e, ROUNDINGS), lambda e: _divided(e) or e)


def uncertain(expression: Any) -> list[Any]:
    """The roundings in ``expression`` whose integer form is not proven for sizes below 2**53."""
    found = [e for e in expression.atoms(*ROUNDINGS) if _divided(e) is not None]
    return sorted((e for e in found if not _proven(e.args[0])), key=str)


def _divided(rounding: Any) -> Any | None:
    """``rounding`` as an integer division; None where its argument is not a quotient of positive integers."""
    value = _rational(rounding.args[0])
    if value is None:
        return None
    numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(value)))
    if denominator.is_negative:
        numerator, denominator = -numerator, -denominator
    if not denominator.is_positive or not (numerator.is_nonnegative or isinstance(rounding, FloorToInt)):
        return None
    if denominator == 1:
        return numerator
    if isinstance(rounding, CeilToInt):
        return FloorDiv(numerator + denominator - 1, denominator)
    return FloorDiv(numerator, denominator)


def _rational(e: Any) -> Any | None:
    """The exact value of ``e``, without any rounding; None where it has no rational form."""
    if isinstance(e, sympy.Float):
        exact = Fraction(float(e)).limit_denominator(_LARGEST_DENOMINATOR)
        return sympy.Rational(exact.numerator, exact.denominator) if float(exact) == float(e) else None
    if isinstance(e, ROUNDINGS):
        return _divided(e)
    if isinstance(e, ToFloat | IntTrueDiv | FloatTrueDiv | sympy.Add | sympy.Mul):
        args = [value for arg in e.args if (value := _rational(arg)) is not None]
        if len(args) < len(e.args):
            return None
        if isinstance(e, ToFloat):
            return args[0]
        return args[0] / args[1] if isinstance(e, IntTrueDiv | FloatTrueDiv) else e.func(*args)
    return e if e.is_integer else None


def _proven(e: Any) -> bool:
    """Whether rounding ``e`` to an integer gives the same in floating point.

    A quotient of two exact integers is rounded only once, by less than its distance to the next integer as long as both
    are below 2**53.
    """
    if isinstance(e, IntTrueDiv | FloatTrueDiv):
        return all(_exact(arg) for arg in e.args)
    return _exact(e)


def _exact(e: Any) -> bool:
    """Whether floating point computes ``e`` without rounding: its values are multiples of a small power of two."""
    if isinstance(e, sympy.Float):
        parts = float(e).as_integer_ratio()
        return max(part.bit_length() for part in parts) <= _EXACT_BITS
    if isinstance(e, ToFloat):
        return _exact(e.args[0])
    if isinstance(e, ROUNDINGS):
        return _proven(e.args[0])
    if isinstance(e, IntTrueDiv | FloatTrueDiv | sympy.Add | sympy.Mul):
        value = _rational(e)
        if value is None or not all(_exact(arg) for arg in e.args):
            return False
        denominator = sympy.fraction(sympy.cancel(sympy.together(value)))[1]
        return bool(denominator.is_Integer and (int(denominator) & (int(denominator) - 1)) == 0)
    return bool(e.is_integer)
