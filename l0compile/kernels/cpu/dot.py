"""Products of four pairs of 8-bit integers, added to a 32-bit sum in each lane: by an instruction where a CPU has one.

The sum is exact everywhere. An instruction that saturates on the way (``vpmaddubsw`` of AVX2) is not used: bytes are
widened to 16 bits instead, and multiplied in pairs.
"""

from typing import Any

from l0compile.kernels.cpu.lanes import Expr, broadcast, const_int, kept
from l0compile.kernels.tir import TB, tirx
from l0compile.kernels.token_tile import TokenTile

# Feature of a CPU -> its instruction, by the number of 32-bit lanes. Activations are unsigned, weights signed.
_INSTRUCTIONS = {
    "avx512vnni": {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8, 16)},
    "avxvnni": {lanes: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}" for lanes in (4, 8)},
    "i8mm": {4: "llvm.aarch64.neon.usdot.v4i32.v16i8"},
}
# The same of instructions for two pairs of 16-bit integers, which add the two products.
_PAIR_INSTRUCTIONS = {
    "avx512bw": {16: "llvm.x86.avx512.pmaddw.d.512"},
    "avx2": {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd"},
}
WORD = 4
"""Bytes of a word."""
HALVES = 2
"""Pairs of bytes in a word: those with an even number and those with an odd one."""


def dot(total: Expr, x: Expr, weight: Expr, width: int, tile: TokenTile) -> Expr:
    """total + the sum over the four bytes of x times weight, in each of ``width`` lanes.

    Args:
        total: int32.
        x: int32 words of unsigned bytes.
        weight: int32 words of signed bytes.
        width: lanes of all three.
        tile: of a target, which has instructions or not.
    """
    for feature, by_lanes in _INSTRUCTIONS.items():
        if feature in tile.dot_products and width in by_lanes:
            unsigned = TB.reinterpret(f"uint8x{WORD * width}", x)
            signed = TB.reinterpret(f"int8x{WORD * width}", weight)
            return TB.call_llvm_intrin(lanes_of("int32", width), by_lanes[width], total, unsigned, signed)
    if multiplies_pairs(width, tile):
        for left, right in zip(unsigned_halves(x, width), signed_halves(weight, width), strict=True):
            total = pair_sum(total, left, right, width, tile)
        return total
    return _by_bytes(total, x, weight, width)


def multiplies_pairs(width: int, tile: TokenTile) -> bool:
    """Whether bytes are widened, and multiplied by an instruction for pairs of 16-bit integers."""
    whole = any(name in tile.dot_products and width in by for name, by in _INSTRUCTIONS.items())
    return not whole and _pair_instruction(width, tile) != ""


def pair_sum(total: Expr, x: Expr, weight: Expr, width: int, tile: TokenTile) -> Expr:
    """total + the sum of both products of the 16-bit integers of ``x`` and ``weight``, in each lane."""
    left, right = (TB.reinterpret(f"int16x{2 * width}", words) for words in (x, weight))
    name = _pair_instruction(width, tile)
    return total + TB.call_llvm_intrin(lanes_of("int32", width), name, left, right)


def _pair_instruction(width: int, tile: TokenTile) -> str:
    found = [by[width] for name, by in _PAIR_INSTRUCTIONS.items() if name in tile.dot_products and width in by]
    return found[0] if found else ""


def unsigned_halves(words: Expr, width: int) -> list[Expr]:
    """The even and the odd bytes of words, each as a pair of 16-bit integers in a word."""
    odd = TB.shift_right(TB.reinterpret(f"uint16x{2 * width}", words), _each(8, "uint16", width))
    return [
        TB.bitwise_and(words, const_int(0x00FF00FF, width)),
        TB.reinterpret(lanes_of("int32", width), odd),
    ]


def signed_halves(words: Expr, width: int) -> list[Expr]:
    """As ``unsigned_halves``, of bytes with a sign."""
    odd, eight = TB.reinterpret(f"int16x{2 * width}", words), _each(8, "int16", width)
    # Up to the sign bit and back: an arithmetic shift repeats it.
    halves = (TB.shift_right(TB.shift_left(odd, eight), eight), TB.shift_right(odd, eight))
    return [TB.reinterpret(lanes_of("int32", width), half) for half in halves]


def _each(value: int, dtype: str, width: int) -> Expr:
    return TB.Broadcast(tirx.const(value, dtype), 2 * width)


def _by_bytes(total: Expr, x: Expr, weight: Expr, width: int) -> Expr:
    """With plain 32-bit arithmetic."""
    for byte in range(WORD):
        shifted = TB.shift_right(x, const_int(8 * byte, width)) if byte else x
        unsigned = TB.bitwise_and(shifted, const_int(255, width))
        # Up to the sign bit and back: an arithmetic shift repeats it.
        left = TB.shift_left(weight, const_int(24 - 8 * byte, width)) if byte < WORD - 1 else weight
        total = total + unsigned * TB.shift_right(left, const_int(24, width))
    return total


def lanes_of(base: str, width: int) -> str:
    """The type of a vector; TVM has none of one lane."""
    return base if width == 1 else f"{base}x{width}"


def as_float(total: Expr, width: int) -> Expr:
    """int32 -> float32, rounded to nearest."""
    return TB.cast(total, lanes_of("float32", width))


def word(values: list[Expr], inverses: list[Expr], zero_point: int, width: int) -> Expr:
    """Four vectors of float32 numbers, quantised, as the bytes of one vector of words.

    Args:
        values: of four features; fewer where the last word is not full.
        inverses: of each, a number.
        zero_point: of all.
        width: lanes.
    """
    result: Any = None
    for byte, (value, inverse) in enumerate(zip(values, inverses, strict=True)):
        level = quantised(value * broadcast(inverse, width), zero_point, width)
        shifted = TB.shift_left(level, const_int(8 * byte, width)) if byte else level
        result = kept(shifted if result is None else TB.bitwise_or(result, shifted), width, "int32")
    return result


def quantised(scaled: Expr, zero_point: int, width: int) -> Expr:
    """clamp(round(scaled) + zero_point, 0, 255) as int32, ties to even; NaN becomes 0.

    Adding a number whose last bit is worth 1 rounds, and leaves the integer in the last bits.
    """
    low, high = (broadcast(TB.float32(bound - zero_point), width) for bound in (0, 255))
    # NaN compares as false, and the second operand is taken.
    within = TB.min(high, TB.max(scaled, low))
    bits = TB.reinterpret(lanes_of("int32", width), within + broadcast(TB.float32(_ROUNDER), width))
    return bits - const_int(_ROUNDER_BITS - zero_point, width)


_ROUNDER = 1.5 * 2.0**23
_ROUNDER_BITS = 0x4B400000
