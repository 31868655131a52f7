"""Products of two pairs of bfloat16 numbers, added to a float32 sum in each lane; and words of two such numbers.

A word holds the number with the even index in its low half. Where a CPU has no instruction for pairs, each half is
widened, which takes a shift, and multiplied as float32.
"""

import contextlib
from typing import Any

from l0compile.kernels.cpu.dot import lanes_of
from l0compile.kernels.cpu.lanes import Expr, bfloat16_bits, const_int
from l0compile.kernels.tir import TB, tirx
from l0compile.kernels.token_tile import TokenTile

PAIR = 2
"""Numbers of a word."""

# Feature of a CPU -> its instruction by the number of 32-bit lanes, and the pairs that it takes as operands.
_INSTRUCTIONS = {
    "avx512bf16": {lanes: f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}" for lanes in (4, 8, 16)},
    "bf16": {4: "llvm.aarch64.neon.bfdot.v4f32.v8bf16"},
}
_HIGH_HALF = -65536


def pair_dot(total: Expr, x: Expr, weight: Expr, width: int, tile: TokenTile) -> Expr:
    """total + the sum over both numbers of the words x and weight, in each of ``width`` lanes.

    Where there is an instruction, this must stand inside of :func:`with_pairs`.
    """
    if _instruction(tile, width):
        return tirx.call_pure_extern(lanes_of("float32", width), _name(width), total, x, weight)
    for half in (_low, _high):
        total = total + half(x, width) * half(weight, width)
    return total


def with_pairs(tile: TokenTile) -> Any:
    """A context for statements that use :func:`pair_dot`: it defines the instructions.

    TVM has no values of bfloat16 that LLVM's intrinsics take; a function of LLVM's own, which is inlined, has.
    """
    widths = [width for width in (4, 8, 16) if _instruction(tile, width)]
    if not widths:
        return contextlib.nullcontext()
    text = "\n".join(_function(width, _instruction(tile, width)) for width in widths)
    return TB.attr(tirx.const(0, "int32"), "pragma_import_llvm", text)


def _instruction(tile: TokenTile, width: int) -> str:
    found = [by[width] for name, by in _INSTRUCTIONS.items() if name in tile.dot_products and width in by]
    return found[0] if found else ""


def _name(width: int) -> str:
    return f"l0compile_pair_dot_{width}"


def _function(width: int, instruction: str) -> str:
    sums, words, pairs = f"<{width} x float>", f"<{width} x i32>", f"<{2 * width} x bfloat>"
    # Several kernels of a module define it alike: hence linkonce_odr.
    return f"""
declare {sums} @{instruction}({sums}, {pairs}, {pairs})
define linkonce_odr {sums} @{_name(width)}({sums} %total, {words} %x, {words} %weight) alwaysinline {{
  %left = bitcast {words} %x to {pairs}
  %right = bitcast {words} %weight to {pairs}
  %result = call {sums} @{instruction}({sums} %total, {pairs} %left, {pairs} %right)
  ret {sums} %result
}}
"""


def pair_word(low: Expr, high: Expr, width: int) -> Expr:
    """Two vectors of float32 numbers, rounded to bfloat16, as the halves of one vector of words."""
    shifted = TB.shift_right(bfloat16_bits(low), const_int(16, width))
    below = TB.bitwise_and(shifted, const_int(65535, width))
    return TB.bitwise_or(below, TB.bitwise_and(bfloat16_bits(high), const_int(_HIGH_HALF, width)))


def _low(words: Expr, width: int) -> Expr:
    return TB.reinterpret(lanes_of("float32", width), TB.shift_left(words, const_int(16, width)))


def _high(words: Expr, width: int) -> Expr:
    bits = TB.bitwise_and(words, const_int(_HIGH_HALF, width))
    return TB.reinterpret(lanes_of("float32", width), bits)
