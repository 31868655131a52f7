"""Products of four pairs of 8-bit integers, added to a 32-bit sum in each lane: by an instruction where a CPU has one.

The sum is exact everywhere. An instruction that saturates on the way (``vpmaddubsw`` of AVX2) is used only for weights
of which it is known that it does not; else bytes are widened to 16 bits, and multiplied in pairs.
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
# And of two pairs of 8-bit integers, which add the two products in 16 bits.
_SATURATING_INSTRUCTIONS = {
    "avx512bw": {16: "llvm.x86.avx512.pmaddubs.w.512"},
    "avx2": {4: "llvm.x86.ssse3.pmadd.ub.sw.128", 8: "llvm.x86.avx2.pmadd.ub.sw"},
}
WORD = 4
"""Bytes of a word."""
HALVES = 2
"""Pairs of bytes in a word: those with an even number and those with an odd one."""


def dot(total: Expr, x: Expr, weight: Expr, width: int, tile: TokenTile, fits16: bool = False) -> Expr:
    """total + the sum over the four bytes of x times weight, in each of ``width`` lanes.

    Args:
        total: int32.
        x: int32 words of unsigned bytes.
        weight: int32 words of signed bytes.
        width: lanes of all three.
        tile: of a target, which has instructions or not.
        fits16: see ``l0compile::packed_int8_linear``.
    """
    if instruction := _instruction(_INSTRUCTIONS, width, tile):
        return TB.call_llvm_intrin(lanes_of("int32", width), instruction, total, *_bytes(x, weight, width))
    if multiplies_pairs(width, tile):
        if fits16:
            return total + _sums_of_sums(x, weight, width, tile)
        for left, right in zip(unsigned_halves(x, width), signed_halves(weight, width), strict=True):
            total = pair_sum(total, left, right, width, tile)
        return total
    return _by_bytes(total, x, weight, width)


def multiplies_pairs(width: int, tile: TokenTile) -> bool:
    """Whether bytes are widened, and multiplied by an instruction for pairs of 16-bit integers."""
    words, pairs = (_instruction(table, width, tile) for table in (_INSTRUCTIONS, _PAIR_INSTRUCTIONS))
    return pairs != "" and words == ""


def adds_in_16_bits(tile: TokenTile) -> bool:
    """Whether weights with ``fits16`` are quicker."""
    return multiplies_pairs(tile.vector, tile)


def pair_sum(total: Expr, x: Expr, weight: Expr, width: int, tile: TokenTile) -> Expr:
    """total + the sum of both products of the 16-bit integers of ``x`` and ``weight``, in each lane."""
    left, right = (TB.reinterpret(f"int16x{2 * width}", words) for words in (x, weight))
    name = _instruction(_PAIR_INSTRUCTIONS, width, tile)
    return total + TB.call_llvm_intrin(lanes_of("int32", width), name, left, right)


def _sums_of_sums(x: Expr, weight: Expr, width: int, tile: TokenTile) -> Expr:
    """The sum of the four products of each lane, first of two and two in 16 bits."""
    saturating, pairs = (
        _instruction(table, width, tile) for table in (_SATURATING_INSTRUCTIONS, _PAIR_INSTRUCTIONS)
    )
    sums = TB.call_llvm_intrin(f"int16x{2 * width}", saturating, *_bytes(x, weight, width))
    return TB.call_llvm_intrin(lanes_of("int32", width), pairs, sums, _each(1, "int16", width))


def _bytes(x: Expr, weight: Expr, width: int) -> tuple[Expr, Expr]:
    return TB.reinterpret(f"uint8x{WORD * width}", x), TB.reinterpret(f"int8x{WORD * width}", weight)


def _instruction(table: dict[str, dict[int, str]], width: int, tile: TokenTile) -> str:
    """Of the first feature that ``tile`` has; empty where there is none."""
    found = [
        by_lanes[width] for name, by_lanes in table.items() if name in tile.dot_products and width in by_lanes
    ]
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
