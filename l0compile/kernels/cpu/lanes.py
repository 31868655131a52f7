"""Building blocks of every tokens-in-lanes kernel: symbolic buffers, vectors of tokens, polynomial functions.

Kernels are plain Python that emits TensorIR through the IR builder, with explicit vectors. (In TVMScript an assignment
inside a vectorised loop makes one scalar for all lanes and silently miscompiles; here Python names are macros.)
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from l0compile.ir.ops.activation import with_roundings
from l0compile.kernels.tir import TB, ir_builder, tirx
from l0compile.kernels.token_tile import Tail, TokenTile

Expr = Any  # a tirx expression or a Python number

# Set on every PrimFunc that needs no further scheduling.
SCHEDULED = "l0compile.scheduled"
# Set on a function that computes little for each byte that it touches: threads are not worth waking for few bytes.
LIGHT = "l0compile.light"
# TVM must not fuse a neighbour into a kernel (OpPatternKind.kOpaque).
_OPAQUE = 8


@contextlib.contextmanager
def kernel(name: str) -> Iterator[Any]:
    """Open a PrimFunc called ``name``; declare every ``param`` first, then the body inside ``body()``."""
    with ir_builder() as builder, TB.prim_func(s_tir=True):
        TB.func_name(name)
        TB.func_attr({"tirx.noalias": True, SCHEDULED: True, "op_pattern": _OPAQUE})
        yield builder


def is_kernel(function: Any) -> bool:
    """Whether a PrimFunc was made by ``kernel``."""
    attributes = function.attrs or {}
    return SCHEDULED in attributes and attributes.get("op_pattern") == _OPAQUE


@contextlib.contextmanager
def body() -> Iterator[None]:
    """The statements of a kernel. TVM's passes expect them in a root block; it has no region and no schedule."""
    with TB.sblock("root"):
        TB.reads([])
        TB.writes([])
        yield


def symbol(name: str) -> Expr:
    return tirx.Var(name, "int64")


def param(name: str, shape: tuple[Expr, ...], dtype: str = "float32") -> Any:
    return TB.arg(name, TB.buffer(shape, dtype, layout=None))


def live_registers(tail: Tail, tile: TokenTile, tiles: Expr) -> Expr:
    """How many registers of a packed tensor hold tokens; declares the parameter ``tokens`` where that is needed."""
    if tail is None:
        tokens = symbol("tokens")
        TB.arg("tokens", tokens)
        return (tokens + tile.vector - 1) // tile.vector
    return tiles * tile.vectors - (-tail % tile.lanes) // tile.vector


def local(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    """Registers of a GPU thread, when every index is a constant after unrolling; see ``variable`` for CPUs."""
    return TB.alloc_buffer(shape, dtype, scope="local", layout=None)


def scratch(shape: tuple[Expr, ...], dtype: str = "float32") -> Any:
    return TB.alloc_buffer(shape, dtype, scope="global", layout=None)


def variable(lanes: int, dtype: str = "float32") -> Any:
    """One register. In this scope TVM puts less than a KiB on the stack; a ``local`` one would cost a call."""
    return TB.alloc_buffer((lanes,), dtype, scope="global", layout=None)


def held(value: Expr) -> Expr:
    """An int64 kept in a variable. TVM's simplifier sees through names, and takes minutes over nested bounds."""
    name = variable(1, "int64")
    store(name, value, 0)
    return name[0]


def kept(value: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """A vector in a register of its own.

    Python names are macros here: a polynomial of a long expression holds it many times, and TVM's passes take minutes.
    """
    register = variable(lanes, dtype)
    store(register, value, ramp(0, lanes))
    return register[ramp(0, lanes)]


def ahead(buffer: Any, *index: Expr) -> None:
    """Ask for the cache line of an element; it may lie past the end of the buffer."""
    address = TB.address_of(buffer[index])
    TB.evaluate(tirx.call_intrin("void", "tirx.prefetch", address, 0, 3, 1))


def store(buffer: Any, value: Expr, *index: Expr) -> None:
    TB.buffer_store(buffer, value, list(index))


def vectors(tile: TokenTile) -> list[Expr]:
    """The slices that cut the lanes of a tile into registers."""
    return [TB.Ramp(v * tile.vector, 1, tile.vector) for v in range(tile.vectors)]


def splat(value: Expr, tile: TokenTile) -> Expr:
    return broadcast(value, tile.vector)


def broadcast(value: Expr, lanes: int) -> Expr:
    """A vector of ``lanes`` equal numbers; TVM has none of one lane."""
    return TB.Broadcast(value, lanes) if lanes > 1 else value


def ramp(start: Expr, lanes: int) -> Expr:
    """``lanes`` neighbours from ``start`` on, as an index."""
    return TB.Ramp(start, 1, lanes) if lanes > 1 else start


def start_of(lanes: Expr) -> Expr:
    """What ``ramp`` was made from."""
    return getattr(lanes, "base", lanes)


def repeat(value: Expr, times: int) -> Expr:
    """Each lane of a vector ``times`` times: a, b -> a, a, b, b."""
    lanes = _lanes(value)
    if lanes == 1:
        return broadcast(value, times)
    places = [tirx.const(lane, "int32") for lane in range(lanes) for _ in range(times)]
    # TVM wants no more places than lanes to take them from.
    return tirx.Shuffle([value] * times, places)


def picked(value: Expr, lanes: Sequence[int]) -> Expr:
    """Some lanes of a vector, side by side."""
    return tirx.Shuffle([value], [tirx.const(lane, "int32") for lane in lanes])


def joined(values: list[Expr]) -> Expr:
    """Numbers side by side in one register."""
    return (
        tirx.Shuffle(values, [tirx.const(lane, "int32") for lane in range(len(values))])
        if len(values) > 1
        else values[0]
    )


def const(value: float, like: Expr) -> Expr:
    """``value`` as float32 with as many lanes as ``like``."""
    dtype = tirx.const(value, "float32")
    lanes = _lanes(like)
    return dtype if lanes == 1 else TB.Broadcast(dtype, lanes)


def _lanes(value: Expr) -> int:
    return int(value.ty.dtype.lanes)


def _typed(base: str, like: Expr) -> str:
    lanes = _lanes(like)
    return base if lanes == 1 else f"{base}x{lanes}"


def _horner(x: Expr, coefficients: tuple[float, ...]) -> Expr:
    value = const(coefficients[0], x)
    for c in coefficients[1:]:
        value = value * x + const(c, x)
    return value


def clamped(x: Expr, low: float, high: float) -> Expr:
    """x within the limits. NaN stays NaN: where a comparison is false, the second operand is taken."""
    return TB.max(const(low, x), TB.min(const(high, x), x))


def exp(x: Expr) -> Expr:
    """2^n * e^r with r = x - n ln 2 in [-0.35, 0.35] and e^r a degree-6 Taylor polynomial: relative error below 5e-7.

    ln 2 is subtracted in two parts (Cody and Waite), the first short enough for n ln2_high to be exact.
    """
    x = clamped(x, -87.0, 88.0)
    n = TB.floor(x * const(1.4426950408889634, x) + const(0.5, x))
    r = x - n * const(0.693359375, x) + n * const(2.12194440e-4, x)
    bits = TB.shift_left(TB.cast(n, _typed("int32", x)) + _int(127, x), _int(23, x))
    return _horner(r, _TAYLOR) * TB.reinterpret(_typed("float32", x), bits)


_TAYLOR = (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0)


def exp_below(x: Expr) -> Expr:
    """exp(x) for x <= 0, exactly 1 at 0 and exactly 0 below -88.02; relative error below 4e-7 down to -10, then growing
    with x to 4e-6. NaN stays NaN.

    2^n 2^f with n + f = x / ln 2 and a degree-5 minimax polynomial for 2^f. Adding a number whose last bit is worth 1
    rounds to n, and leaves n + 127, the exponent of 2^n, in the last bits; it is 0 for the smallest n.
    """
    x = TB.max(const(-88.029692, x), x) * const(1.4426950408889634, x)
    # As bits: of (x + c) - c as numbers TVM's simplifier makes x.
    shifted = TB.reinterpret(_typed("int32", x), x + const(_ROUNDER, x))
    f = x - (TB.reinterpret(_typed("float32", x), shifted) - const(_ROUNDER, x))
    power = TB.reinterpret(_typed("float32", x), TB.shift_left(shifted, _int(23, x)))
    return _horner(f, _EXP2) * power


_ROUNDER = 1.5 * 2.0**23 + 127
_EXP2 = (0.00132764720, 0.00967554133, 0.0555071327, 0.240221197, 0.693146967, 1.0)


def log(x: Expr) -> Expr:
    """log(x) for normal x > 0, by the polynomial of Cephes: relative error below 2e-7.

    x = m 2^e with m from sqrt(1/2) to sqrt(2); adding up begins with the smallest parts.
    """
    bits = TB.reinterpret(_typed("int32", x), x)
    mantissa = TB.bitwise_or(TB.bitwise_and(bits, _int(0x7FFFFF, x)), _int(0x3F000000, x))
    half = TB.reinterpret(_typed("float32", x), mantissa)
    low = half < const(0.5**0.5, x)
    e = TB.cast(TB.shift_right(bits, _int(23, x)) - _int(126, x), _typed("float32", x))
    e = TB.Select(low, e - const(1.0, x), e)
    m = TB.Select(low, half + half, half) - const(1.0, x)
    q = m * m
    rest = m * q * _horner(m, _LOG) + e * const(-2.12194440e-4, x) - const(0.5, x) * q
    return m + rest + e * const(0.693359375, x)


_LOG = (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
        2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)  # fmt: skip


def _int(value: int, like: Expr) -> Expr:
    lanes = _lanes(like)
    scalar = tirx.const(value, "int32")
    return scalar if lanes == 1 else TB.Broadcast(scalar, lanes)


def const_int(value: int, lanes: int) -> Expr:
    """``value`` as int32 in each lane."""
    return broadcast(tirx.const(value, "int32"), lanes)


def erf(x: Expr) -> Expr:
    """Rational minimax approximation on [-4, 4] (the one Eigen and XLA use), absolute error about 1e-7."""
    x = TB.max(TB.min(x, const(4.0, x)), const(-4.0, x))
    q = x * x
    num = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
           -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02)  # fmt: skip
    den = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
           -1.42647390514189e-02)  # fmt: skip
    return x * _horner(q, num) / _horner(q, den)


def tanh(x: Expr) -> Expr:
    """Rational minimax approximation on [-7.9, 7.9] (the one Eigen uses), absolute error about 2e-7."""
    x = clamped(x, -7.90531110763549805, 7.90531110763549805)
    q = x * x
    num = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
           1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)  # fmt: skip
    den = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
    return x * _horner(q, num) / _horner(q, den)


def sigmoid(x: Expr) -> Expr:
    return const(1.0, x) / (const(1.0, x) + exp(-x))


def hardswish(x: Expr) -> Expr:
    return x * TB.max(TB.min(x + const(3.0, x), const(6.0, x)), const(0.0, x)) * const(1 / 6, x)


def gelu(x: Expr) -> Expr:
    """x * Phi(x) with Phi(x) = 1/2 + x P(x^2); absolute error of Phi below 1.2e-7.

    P is the minimax polynomial of degree 13 on [0, 5.2^2], in a variable that goes from -1 to 1. A quotient, as in
    ``erf``, would take as long again.
    """
    z = TB.max(TB.min(x, const(5.2, x)), const(-5.2, x))
    t = z * z * const(2 / 5.2**2, x) - const(1.0, x)
    return x * (z * _horner(t, _PHI) + const(0.5, x))


_PHI = (-4.6854815e-04, 1.2708143e-03, -1.2604469e-03, 1.7938521e-03, -4.7435085e-03, 8.5663134e-03, -1.2530455e-02,
        1.7951859e-02, -2.4716845e-02, 3.1990562e-02, -3.9930589e-02, 5.0024476e-02, -6.7743644e-02,
        1.3595000e-01)  # fmt: skip


def gelu_tanh(x: Expr) -> Expr:
    inner = const(0.7978845608028654, x) * (x + const(0.044715, x) * x * x * x)
    return x * const(0.5, x) * (const(1.0, x) + tanh(inner))


def prelu(x: Expr, slope: Expr) -> Expr:
    """x where it is positive, else slope * x, the slope a number for all lanes."""
    return TB.Select(x > const(0.0, x), x, x * broadcast(slope, _lanes(x)))


def bfloat16_bits(x: Expr) -> Expr:
    """int32 bits whose high half is ``x`` in bfloat16, ties to even; what the low half holds is not said. NaN stays."""
    lanes = _lanes(x)
    bits = kept(TB.reinterpret("int32" if lanes == 1 else f"int32x{lanes}", x), lanes, "int32")
    last = TB.bitwise_and(TB.shift_right(bits, const_int(16, lanes)), const_int(1, lanes))
    rounded = bits + (last + const_int(32767, lanes))
    # Adding may carry a NaN over to the numbers. As bits: TVM's simplifier takes x == x for true.
    magnitude = TB.bitwise_and(bits, const_int(0x7FFFFFFF, lanes))
    quiet = TB.bitwise_or(bits, const_int(1 << 22, lanes))
    return TB.Select(magnitude <= const_int(0x7F800000, lanes), rounded, quiet)


def rounded_to_bfloat16(x: Expr) -> Expr:
    """``x`` in bfloat16, as float32."""
    lanes = _lanes(x)
    bits = TB.bitwise_and(bfloat16_bits(x), const_int(-65536, lanes))
    return kept(TB.reinterpret("float32" if lanes == 1 else f"float32x{lanes}", bits), lanes)


_PLAIN: dict[str, Callable[[Expr], Expr]] = {
    "": lambda x: x,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": lambda x: TB.max(const(0.0, x), x),
    "relu6": lambda x: clamped(x, 0.0, 6.0),
    "hardswish": hardswish,
    "silu": lambda x: x * sigmoid(x),
    "tanh": tanh,
    "sigmoid": sigmoid,
}
ACTIVATIONS = with_roundings(_PLAIN, rounded_to_bfloat16)
"""Name -> function of a register; those of the operators."""


def activated(value: Expr, activation: str, slope: Expr | None = None) -> Expr:
    """``activation`` of a register; ``slope``: of "prelu"."""
    return ACTIVATIONS[activation](value) if slope is None else prelu(value, slope)
