"""Device functions that only attention needs: powers of 2, numbers of other lanes, words of two weights."""

from typing import Any

from l0compile.kernels.cpu.lanes import Expr, store
from l0compile.kernels.cuda import ptx
from l0compile.kernels.tir import TB, tirx


def fill(buffer: Any, count: int, value: Expr) -> None:
    """Set the first ``count`` registers."""
    for place in range(count):
        store(buffer, value, place)


def both(one: Expr, other: Expr) -> Expr:
    """Whether two conditions hold. ``TB.And`` would be a branch."""
    return TB.bitwise_and(TB.cast(one, "int32"), TB.cast(other, "int32")) != 0


def packed_pair(low: Expr, high: Expr, dtype: str, modern: bool) -> Expr:
    """Two float32 rounded to 16 bits in a uint32; ``modern``: the device is an sm_80 or later."""
    if modern:
        return ptx.rounded_pair(low, high, dtype)
    return ptx.rounded(low, dtype) | TB.shift_left(ptx.rounded(high, dtype), TB.uint32(16))


def fresh(value: Expr) -> Expr:
    """The same int32, of which the compiler knows nothing: addresses that follow from it stay in no register."""
    code = 'asm volatile("" : "+r"(value)); return value;'
    return _call("l0_fresh", f"int l0_fresh(int value) {{ {code} }}", value, "int32")


def exp2(value: Expr) -> Expr:
    """2 to the power of a float32, with an error of 2^-22 of it; exactly 0 for -inf, and 1 for 0."""
    code = 'float result; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value)); return result;'
    return _call("l0_exp2", f"float l0_exp2(float value) {{ {code} }}", value)


def from_lane(value: Expr, bit: int) -> Expr:
    """A float32 of the lane whose number differs in ``bit``."""
    name = f"l0_from_lane_{bit}"
    code = f"return __shfl_xor_sync(0xffffffffu, value, {bit});"
    return _call(name, f"float {name}(float value) {{ {code} }}", value)


def _call(name: str, source: str, value: Expr, dtype: str = "float32") -> Expr:
    return tirx.call_intrin(
        dtype, "tirx.cuda.func_call", name, value, f"__device__ __forceinline__ {source}\n"
    )
