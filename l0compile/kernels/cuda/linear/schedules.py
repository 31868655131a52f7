"""Schedules of CUDA's linear kernels: how large tiles are, and how warps share them."""

from dataclasses import replace
from itertools import product

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.architecture import (
    RESERVED_BYTES,
    has_ampere_instructions,
    has_warpgroups,
    shared_bytes,
)
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.cuda.linear.tensors import bytes_of, per_chunk, piece
from l0compile.kernels.cuda.ptx import COPY_BYTES, SHARED_ALIGNMENT
from l0compile.kernels.cuda.warpgroup import ALIGNMENT, ROWS

# Outputs of a tile -> its tokens, warps along tokens, warps along outputs, thread blocks of a multiprocessor.
_OF_TENSOR_CORES = {16: (128, 4, 1, 5), 32: (128, 4, 1, 5), 64: (128, 4, 2, 4), 128: (128, 4, 2, 2)}
_OF_WARPGROUPS = {16: (128, 8, 1, 4), 32: (128, 8, 1, 4), 64: (128, 8, 1, 4), 128: (128, 8, 1, 2)}
_OF_MULTIPLY_ADDS = {16: (128, 4, 1, 5), 32: (128, 4, 1, 4), 64: (128, 4, 2, 2), 128: (64, 2, 4, 2)}
# Bytes of k in a stage, and stages.
_DEPTH, _MOST_STAGES = 64, 4
# The largest tiles of warpgroups leave room for three such stages, with half of the barriers.
_DEEPER = 128
_STAGES = ((64, 4), (64, 3), (128, 3), (64, 2), (128, 2))
# Tiles for few tokens are small, to be many; warps share their k.
_FEW = CudaLinearSchedule(FEW_TOKENS, 16, 256, 1, 1, 4, slices=8, blocks=3)
_WARPS = ((1, 1), (1, 2), (2, 1), (1, 4), (2, 2), (4, 1), (2, 4), (4, 2))
_SPLITS = (2, 4, 8)
# Warps along the tokens of tiles for warpgroups.
_OF_FOUR = (4, 8, 16)
_RESIDENT = 2
# Registers of a thread for its sums: half of all leave room for factors and addresses.
_SUMS = 128


def default_schedule(spec: CudaLinearSpec, target: Target) -> CudaLinearSchedule:
    """The largest tile that cuts a block evenly, or the smallest for few tokens, and as many stages as leave room.

    Raises:
        BuildError: blocks have rows that no tile divides.
    """
    outputs, each = max(_outputs(spec)), bytes_of(spec.dtype)
    four = _multiplies_by_warpgroups(spec, target)
    tiles = _OF_MULTIPLY_ADDS if spec.dtype == "float32" and not spec.tf32 else _OF_TENSOR_CORES
    tokens, token_warps, output_warps, blocks = (_OF_WARPGROUPS if four else tiles)[outputs]
    depth = _DEEPER if four and outputs == max(_OF_WARPGROUPS) else _DEPTH
    made = CudaLinearSchedule(
        tokens,
        outputs,
        depth // each,
        token_warps,
        output_warps,
        _MOST_STAGES,
        blocks=blocks,
        warpgroups=four,
    )
    if spec.few:
        made = replace(_FEW, depth=_FEW.depth // each)
    if piece(spec.dtype, spec.k, spec.cols) * each < COPY_BYTES[0] or not has_ampere_instructions(target):
        made = replace(made, blocks=made.blocks // 2)  # what is copied goes through registers
    elif spec.tf32:
        made = replace(made, blocks=made.blocks - 1)  # so does what is rounded
    return _with_stages(spec, target, made)


def _with_stages(spec: CudaLinearSpec, target: Target, schedule: CudaLinearSchedule) -> CudaLinearSchedule:
    """Take as many stages as leave memory for all thread blocks, each of which takes some for itself."""
    if not has_ampere_instructions(target):
        return replace(schedule, stages=2)
    for stages in range(schedule.stages, 2, -1):
        made = replace(schedule, stages=stages)
        each = kernel_bytes(spec, made) + RESERVED_BYTES
        if schedule.blocks * each <= shared_bytes(target) + RESERVED_BYTES:
            return made
    return replace(schedule, stages=2)


def legal_schedules(spec: CudaLinearSpec, target: Target) -> tuple[CudaLinearSchedule, ...]:
    """The default schedule first, then what fits shared memory and is worth a try."""
    default, each = default_schedule(spec, target), bytes_of(spec.dtype)
    made = [default, replace(default, resident=_RESIDENT)]
    if spec.few:
        made += [
            replace(default, slices=slices, outputs=n) for slices in (1, 2, 4, 8) for n in _outputs(spec)
        ]
        made += [replace(one, splits=splits) for one in tuple(made) for splits in _SPLITS]
    else:
        tiles = product((32, 64, 128, 256), _outputs(spec), _STAGES, _WARPS)
        made += [
            CudaLinearSchedule(tokens, outputs, depth // each, *warps, stages)
            for tokens, outputs, (depth, stages), warps in tiles
        ]
        made += [
            CudaLinearSchedule(16 * warps, outputs, depth // each, warps, 1, stages, warpgroups=True)
            for warps, outputs, (depth, stages) in product(_OF_FOUR, _outputs(spec), _STAGES)
        ]
    return tuple(dict.fromkeys(one for one in made if one == default or _worth_a_try(spec, target, one)))


def cuda_cycles_bound(schedule: CudaLinearSchedule, target: Target) -> float:
    """Numbers that a warp, or a warpgroup, reads from shared memory for each product of its tile."""
    if schedule.warpgroups:
        return 1 / ROWS + 1 / schedule.outputs
    return schedule.token_warps / schedule.tokens + schedule.output_warps / schedule.outputs


def check_schedule(spec: CudaLinearSpec, target: Target, schedule: CudaLinearSchedule) -> None:
    """Check that the target has the numbers of a spec, and that a schedule cuts its tiles evenly and fits memory.

    Raises:
        BuildError: the target can't multiply such numbers, or rows of a block are no multiple of 16.
        ScheduleError: the schedule does not fit.
    """
    if (spec.dtype == "bfloat16" or spec.tf32) and not has_ampere_instructions(target):
        raise BuildError(
            f"target {target.name}: {'TF32' if spec.tf32 else spec.dtype} needs sm_80 or later, got {target.cpu}; "
            "use float16 or float32"
        )
    outputs = _outputs(spec)
    if schedule.outputs not in outputs:
        raise ScheduleError(f"{schedule}: expected outputs of {sorted(outputs)}")
    chunks = schedule.depth // per_chunk(spec.dtype)
    numbers = (schedule.tokens, schedule.token_warps, schedule.output_warps, schedule.slices, chunks)
    if (
        any(number < 1 or number & (number - 1) for number in numbers)
        or min(schedule.stages - 1, schedule.splits) < 1
    ):
        raise ScheduleError(
            f"{schedule}: expected powers of two (depth in 16 bytes), at least 2 stages and 1 split"
        )
    across = max(chunks, schedule.outputs // per_chunk(spec.dtype))
    least = 16 * schedule.token_warps, 16 * schedule.output_warps
    if (
        schedule.tokens < least[0]
        or schedule.outputs < least[1]
        or chunks < 2 * schedule.slices
        or across > schedule.threads
    ):
        raise ScheduleError(
            f"{schedule}: expected 16 tokens and 16 outputs a warp or more, and a depth of 32 bytes a slice"
        )
    if schedule.warpgroups:
        _check_warpgroups(spec, target, schedule)
    if schedule.threads > 1024 or kernel_bytes(spec, schedule) > shared_bytes(target):
        raise ScheduleError(
            f"{schedule}: expected at most 1024 threads and {shared_bytes(target)} bytes of stages"
        )


def _multiplies_by_warpgroups(spec: CudaLinearSpec, target: Target) -> bool:
    """Whether four warps may multiply together: 16-bit numbers, and tiles of 64 tokens and more."""
    return has_warpgroups(target) and bytes_of(spec.dtype) == 2 and not spec.few


def _check_warpgroups(spec: CudaLinearSpec, target: Target, schedule: CudaLinearSchedule) -> None:
    if not has_warpgroups(target) or bytes_of(spec.dtype) != 2:
        raise ScheduleError(
            f"{schedule}: warpgroups expected sm_90a and numbers of 16 bits, got {target.cpu} and {spec.dtype}"
        )
    warps = schedule.token_warps
    if warps % 4 or schedule.tokens != 16 * warps or schedule.output_warps != 1:
        raise ScheduleError(
            f"{schedule}: warpgroups expected four warps for each 64 tokens, and one along the outputs"
        )


def kernel_bytes(spec: CudaLinearSpec, schedule: CudaLinearSchedule) -> int:
    """Shared memory of a thread block: that of its stages, and then of 16 tokens' sums of each warp.

    Warpgroups want it to begin at an address that has to be rounded up to.
    """
    stage = (schedule.tokens + schedule.outputs) * schedule.depth * bytes_of(spec.dtype)
    sums = schedule.threads // 32 * 16 * schedule.outputs // schedule.output_warps * 4
    spare = ALIGNMENT - SHARED_ALIGNMENT if schedule.warpgroups else 0
    return max(stage * schedule.stages, sums) + spare


def _outputs(spec: CudaLinearSpec) -> list[int]:
    """The widths of tiles that cut a block evenly."""
    found = [size for size in _OF_TENSOR_CORES if spec.rows % size == 0]
    if not found:
        raise BuildError(
            f"cuda linear: expected blocks of rows that are a multiple of 16, got {spec.rows}x{spec.cols}; "
            "choose such a block, or leave the layer dense"
        )
    return found


def _worth_a_try(spec: CudaLinearSpec, target: Target, schedule: CudaLinearSchedule) -> bool:
    try:
        check_schedule(spec, target, schedule)
    except ScheduleError:
        return False
    sums = schedule.tokens * schedule.outputs * schedule.slices // schedule.threads
    return 8 <= sums <= _SUMS
