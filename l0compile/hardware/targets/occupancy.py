"""How many thread blocks of a kernel a multiprocessor of a GPU can hold.

The rules and their constants are those of NVIDIA's occupancy calculator, ``cuda_occupancy.h`` of the CUDA toolkit; the
limits of an architecture are in its target file, from the table "Technical Specifications per Compute Capability" of
the CUDA C++ Programming Guide.
"""

from dataclasses import dataclass

from l0compile.errors import TargetError
from l0compile.hardware.targets.target import Target

WARP = 32
_REGISTERS_AT_ONCE = 256  # a warp gets registers in portions of this many
_PARTITIONS = 4  # of a multiprocessor; each has a quarter of its registers
_THREADS_OF_A_BLOCK, _REGISTERS_OF_A_THREAD = 1024, 255


@dataclass(frozen=True)
class Occupancy:
    """What a multiprocessor holds of one kernel.

    Attributes:
        blocks: thread blocks at once; 0: the kernel cannot be launched.
        share: their warps among the most that the multiprocessor could hold, 0 to 1.
        limit: what there is too little of for one more block: "threads", "blocks", "registers" or "shared memory".
    """

    blocks: int
    share: float
    limit: str


def occupancy(target: Target, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """Return the theoretical occupancy of a kernel.

    Args:
        target: of a GPU.
        threads: of a thread block.
        registers: of a thread.
        shared_bytes: static and dynamic shared memory of a thread block.

    Raises:
        TargetError: the target is not a GPU.
    """
    if target.gpu is None:
        raise TargetError(
            f"target {target.name}: expected a GPU, got kind {target.kind!r} without a [gpu] table"
        )
    gpu, warps = target.gpu, -(-threads // WARP)
    most = gpu.threads_per_sm // WARP
    limits = {
        "threads": most // warps if 0 < threads <= _THREADS_OF_A_BLOCK else 0,
        "blocks": gpu.blocks_per_sm,
        "registers": _by_registers(gpu.registers_per_sm, registers, warps),
        "shared memory": _by_shared(target, shared_bytes),
    }
    limit = min(limits, key=lambda name: limits[name])
    return Occupancy(limits[limit], limits[limit] * warps / most, limit)


def _by_registers(per_sm: int, registers: int, warps: int) -> int:
    if registers > _REGISTERS_OF_A_THREAD:
        return 0
    of_a_warp = _rounded_up(max(registers, 1) * WARP, _REGISTERS_AT_ONCE)
    # A block may not have more registers than there are, with its warps dealt evenly to the partitions.
    if of_a_warp * _rounded_up(warps, _PARTITIONS) > per_sm:
        return 0
    return (per_sm // _PARTITIONS // of_a_warp) * _PARTITIONS // warps


def _by_shared(target: Target, shared_bytes: int) -> int:
    gpu, turing = target.gpu, target.cpu.startswith("sm_7")
    assert gpu is not None
    # From compute capability 8.0 on, the driver keeps a KiB of each block's for itself.
    reserved, portion = (0, 256) if turing else (1024, 128)
    if shared_bytes > gpu.shared_per_block:
        return 0
    return gpu.shared_per_sm // max(_rounded_up(shared_bytes + reserved, portion), portion)


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
