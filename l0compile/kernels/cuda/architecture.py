"""What the code of a kernel may use on an architecture."""

from l0compile.errors import BuildError
from l0compile.hardware.targets import Target

_OLDEST = 75
"""Instructions of older architectures are others, and nvcc 13 knows none of them."""

RESERVED_BYTES = 1024
"""Shared memory that each thread block takes for the system, from sm_80 on."""

_AMPERE = 80


def capability(target: Target) -> int:
    """75 of sm_75, 90 of sm_90a."""
    return int(target.cpu.removeprefix("sm_").rstrip("af"))


def has_ampere_instructions(target: Target) -> bool:
    """Asynchronous copies, tensor cores for bfloat16 and TF32 and with k 16, conversions of pairs."""
    return capability(target) >= _AMPERE


def has_warpgroups(target: Target) -> bool:
    """Products of four warps (``wgmma``): instructions of the architecture sm_90a alone, which sm_90 code lacks."""
    return target.cpu == "sm_90a"


def shared_bytes(target: Target) -> int:
    """The most shared memory of a thread block, in bytes.

    Raises:
        BuildError: the target is no GPU, or one that no kernel is written for.
    """
    if target.gpu is None or capability(target) < _OLDEST:
        raise BuildError(f"target {target.name}: expected sm_{_OLDEST} or later, got {target.cpu}")
    return target.gpu.shared_per_block
