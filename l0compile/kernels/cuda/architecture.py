"""What the code of a kernel may use on an architecture."""

from l0compile.errors import BuildError
from l0compile.hardware.targets import Target

_SHARED_BYTES = {75: 64 << 10, 80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10}
"""The most shared memory of a thread block (CUDA programming guide, technical specifications)."""

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
        BuildError: the architecture is not known.
    """
    found = _SHARED_BYTES.get(capability(target))
    if found is None:
        known = ", ".join(f"sm_{number}" for number in _SHARED_BYTES)
        raise BuildError(f"target {target.name}: expected one of {known}, got {target.cpu}")
    return found
