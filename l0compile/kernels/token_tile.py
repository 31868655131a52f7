"""Token tiles: how many tokens travel together, and how they lie in the registers of a CPU."""

from dataclasses import dataclass
from typing import TypeAlias

from l0compile.errors import TargetError
from l0compile.hardware.targets import Core, Target

Tail: TypeAlias = int | None
"""Tokens in the last tile of a packed tensor; 0 when they fill it. None when only the call knows: the kernel then takes
the number of all tokens, ``tokens``, after its tensors. Lanes past the register of the last token are undefined.
"""

# Vector registers of x86-64 without AVX-512.
_FEW_REGISTERS = 16


@dataclass(frozen=True)
class TokenTile:
    """How many tokens travel together and how they lie in registers.

    Attributes:
        lanes: tokens of a tile, the last axis of a packed tensor.
        vector: float32 numbers of one register.
        rows: features that a microkernel accumulates at once: rows * lanes / vector accumulators.
        threads: worker threads that a loop is cut for.
        registers: vector registers of a core.
        core: what else kernels assume of a core.
        dot_products: features of the CPU with instructions for products of narrow numbers, see ``Target``.
    """

    lanes: int
    vector: int
    rows: int
    threads: int
    registers: int
    core: Core
    dot_products: tuple[str, ...] = ()

    @property
    def vectors(self) -> int:
        """Registers of a tile."""
        return self.lanes // self.vector


def has_few_registers(machine: "TokenTile | Target") -> bool:
    """Whether the sums of a tile fill half of the registers (AVX2): LLVM keeps them there only with some help."""
    return machine.registers <= _FEW_REGISTERS


def token_tile(target: Target) -> TokenTile:
    """Choose the tile of a CPU: the target's rows of accumulators times as many vectors as fit beside the operands.

    A microkernel needs rows * vectors accumulators, ``vectors`` loaded tokens and one weight; more of them spill
    (AVX-512: 4 x 4 of 32 registers; AVX2: 4 x 2 of 16; NEON: 4 x 4 of 32, with four-wide vectors).

    Raises:
        TargetError: the target is not a CPU.
    """
    if target.kind != "llvm":
        raise TargetError(
            f"target {target.name}: tokens-in-lanes kernels are for CPUs, got kind {target.kind!r}"
        )
    lanes, vectors = target.lanes32, 4 if target.registers >= 32 else 2
    return TokenTile(
        lanes * vectors,
        lanes,
        target.core.rows,
        target.cores,
        target.registers,
        target.core,
        target.dot_products,
    )
