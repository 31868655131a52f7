"""Functions of one or two numbers as TensorIR, with torch's results for NaN, infinities and signs.

On CPUs float32 uses the polynomials of the kernels instead of scalar calls into libm. They clamp their argument, so
results outside their range are selected here. A GPU has functions of its own.
"""

import math
from collections.abc import Callable

from l0compile.hardware._tvm import tirx
from l0compile.kernels.cpu import lanes
from l0compile.kernels.cpu.lanes import Expr
from l0compile.lower.aten.lowering import cast, type_of
from l0compile.lower.machine_functions import of_the_machine


def number(value: float, like: Expr) -> Expr:
    return tirx.const(value, type_of(like))


def is_float(x: Expr) -> bool:
    return "float" in type_of(x)


def is_nan(x: Expr) -> Expr:
    if not is_float(x):
        return tirx.const(False, "bool")
    return tirx.isnan(x if type_of(x) in ("float32", "float64") else cast(x, "float32"))


def _fast(polynomial: Callable[[Expr], Expr], exact: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    """Make a function that uses the polynomial for float32 on a CPU, where NaN stays NaN, and libm otherwise."""

    def function(x: Expr) -> Expr:
        if type_of(x) != "float32" or of_the_machine():
            return exact(x)
        return tirx.Select(tirx.isnan(x), x, polynomial(x))

    return function


def _exp32(x: Expr) -> Expr:
    large = tirx.Select(
        x > number(88.72283, x), number(math.inf, x), lanes.exp(x - number(1, x)) * number(math.e, x)
    )
    return tirx.Select(
        x > number(88.0, x), large, tirx.Select(x < number(-87.0, x), number(0, x), lanes.exp(x))
    )


def _tanh32(x: Expr) -> Expr:
    outside = tirx.Select(x > number(0, x), number(1, x), number(-1, x))
    return tirx.Select(tirx.abs(x) > number(9, x), outside, lanes.tanh(x))


exp = _fast(_exp32, tirx.exp)


def exp_below(x: Expr) -> Expr:
    """Return exp(x) for x <= 0, or NaN."""
    return lanes.exp_below(x) if type_of(x) == "float32" and not of_the_machine() else exp(x)


def _erf32(x: Expr) -> Expr:
    outside = tirx.Select(x > number(0, x), number(1, x), number(-1, x))
    return tirx.Select(tirx.abs(x) > number(4, x), outside, lanes.erf(x))


erf = _fast(_erf32, tirx.erf)
tanh = _fast(_tanh32, tirx.tanh)


def sigmoid(x: Expr) -> Expr:
    return number(1, x) / (number(1, x) + exp(-x))


def silu(x: Expr) -> Expr:
    return x * sigmoid(x)


def relu(x: Expr) -> Expr:
    return tirx.Select(x < number(0, x), number(0, x), x)


def gelu(x: Expr) -> Expr:
    return x * number(0.5, x) * (number(1, x) + erf(x * number(math.sqrt(0.5), x)))


def gelu_tanh(x: Expr) -> Expr:
    inner = number(math.sqrt(2 / math.pi), x) * (x + number(0.044715, x) * x * x * x)
    return x * number(0.5, x) * (number(1, x) + tanh(inner))


def sign(x: Expr) -> Expr:
    one, zero = number(1, x), number(0, x)
    return tirx.Select(x > zero, one, tirx.Select(x < zero, number(-1, x), zero))


def differs(a: Expr, b: Expr) -> Expr:
    """Return a != b, which is true for NaN, although TVM's comparison says false."""
    unequal = tirx.NE(a, b)
    return tirx.any(unequal, is_nan(a), is_nan(b)) if is_float(a) else unequal


def absolute(x: Expr) -> Expr:
    return tirx.abs(x)


def maximum(a: Expr, b: Expr) -> Expr:
    """Return the larger number, or NaN if either is NaN."""
    return tirx.Select(tirx.any(a > b, is_nan(a)), a, b)


def minimum(a: Expr, b: Expr) -> Expr:
    return tirx.Select(tirx.any(a < b, is_nan(a)), a, b)


def subtract(a: Expr, b: Expr) -> Expr:
    """Return a - b; in floats as a sum, since TVM cancels (x + c) - c, which rounds, and x - x, which may be NaN."""
    return a + (-b) if is_float(a) else a - b


def divide(a: Expr, b: Expr) -> Expr:
    return a / b


def divide_trunc(a: Expr, b: Expr) -> Expr:
    return tirx.trunc(a / b) if is_float(a) else tirx.truncdiv(a, _nonzero(b))


def divide_floor(a: Expr, b: Expr) -> Expr:
    """Divide and round down; as in Python, floats start from the remainder, so that 1 // 0.1 is 9."""
    if not is_float(a):
        return tirx.floordiv(a, _nonzero(b))
    rest = _fmod(a, b)
    quotient = (a - rest) / b
    zero, one = number(0, a), number(1, a)
    quotient = tirx.Select(_signs_differ(rest, b), quotient - one, quotient)
    whole = tirx.floor(quotient)
    whole = tirx.Select(quotient - whole > number(0.5, a), whole + one, whole)
    return tirx.Select(tirx.EQ(b, zero), a / b, whole)


def remainder(a: Expr, b: Expr) -> Expr:
    """Return the remainder with the sign of the divisor."""
    if not is_float(a):
        return tirx.floormod(a, _nonzero(b))
    rest = _fmod(a, b)
    return tirx.Select(_signs_differ(rest, b), rest + b, rest)


def _fmod(a: Expr, b: Expr) -> Expr:
    """Call fmod of libm, since TVM generates no code for its own."""
    name = "fmod" if type_of(a) == "float64" else "fmodf"
    return tirx.call_pure_extern(type_of(a), name, a, b)


def fmod(a: Expr, b: Expr) -> Expr:
    """Return the remainder with the sign of the dividend."""
    return _fmod(a, b) if is_float(a) else tirx.truncmod(a, _nonzero(b))


def power(a: Expr, b: Expr) -> Expr:
    return tirx.power(a, b)


def _signs_differ(rest: Expr, b: Expr) -> Expr:
    zero = number(0, rest)
    return tirx.all(
        tirx.NE(rest, zero), tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    )


def _nonzero(b: Expr) -> Expr:
    """Replace an integer divisor of 0 by 1: the processor would trap, and torch raises."""
    return tirx.Select(tirx.EQ(b, number(0, b)), number(1, b), b)
