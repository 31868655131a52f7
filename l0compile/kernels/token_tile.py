"""The default token tile of a CPU target: how many tokens travel in lanes, and the microkernel's height."""

from l0compile.errors import TargetError
from l0compile.hardware.targets import Target
from l0compile.kernels.spec import TokenTile

_ROWS = 4


def token_tile(target: Target) -> TokenTile:
    """Four rows of accumulators times as many vectors as the register file holds beside the operands.

    A microkernel needs rows * vectors accumulators, ``vectors`` loaded tokens and one weight; more of them spill
    (AVX-512: 4 x 4 of 32 registers; AVX2: 4 x 2 of 16; NEON: 4 x 4 of 32, with four-wide vectors).

    Raises: TargetError for a target that is not a CPU.
    """
    if target.kind != "llvm":
        raise TargetError(
            f"target {target.name}: tokens-in-lanes kernels are for CPUs, got kind {target.kind!r}"
        )
    vectors = 4 if target.registers >= 32 else 2
    return TokenTile(target.lanes32 * vectors, target.lanes32, _ROWS, target.cores, target.registers)
