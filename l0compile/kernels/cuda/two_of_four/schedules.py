"""Schedules of the linear kernel for 2:4."""

from dataclasses import replace
from itertools import product

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import Target
from l0compile.ir.ops.two_of_four import COLUMNS, ROWS
from l0compile.kernels.cuda.architecture import RESERVED_BYTES, has_ampere_instructions, shared_bytes
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule
from l0compile.kernels.cuda.linear.tensors import piece
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec

_USUAL = CudaLinearSchedule(128, 128, COLUMNS, 2, 4, 4, blocks=2)
# Tiles for few tokens are small, to be many; warps share their k.
_FEW = CudaLinearSchedule(FEW_TOKENS, 16, 4 * COLUMNS, 1, 1, 4, slices=4, blocks=4)
_TILES = ((128, 128), (64, 128), (128, 64), (256, 128), (64, 64), (32, 64))
_WARPS = ((2, 4), (2, 2), (4, 2), (1, 4), (4, 1))
_STAGES = (4, 3, 2)
_SUMS = 128  # registers of a thread
_WIDE = 2  # bytes of a number


def default_two_of_four_schedule(spec: CudaTwoOfFourSpec, target: Target) -> CudaLinearSchedule:
    """Large tiles, or the smallest for few tokens, and as many stages as leave room for all thread blocks."""
    made = _FEW if spec.few else _USUAL
    if piece(spec.dtype, spec.k) * _WIDE < 4:
        made = replace(made, blocks=made.blocks // 2)  # what is copied goes through registers
    for stages in range(made.stages, 2, -1):
        each = two_of_four_bytes(replace(made, stages=stages)) + RESERVED_BYTES
        if made.blocks * each <= shared_bytes(target) + RESERVED_BYTES:
            return replace(made, stages=stages)
    return replace(made, stages=2)


def legal_two_of_four_schedules(spec: CudaTwoOfFourSpec, target: Target) -> tuple[CudaLinearSchedule, ...]:
    """The default schedule first, then what fits and is worth a try."""
    made = [default_two_of_four_schedule(spec, target)]
    if spec.few:
        made += [
            replace(_FEW, slices=slices, depth=slices * COLUMNS, outputs=n, blocks=0)
            for slices, n in product((1, 2, 4, 8), (16, 32, 64))
        ]
    else:
        made += [
            CudaLinearSchedule(*tile, COLUMNS, *warps, stages)
            for tile, warps, stages in product(_TILES, _WARPS, _STAGES)
        ]
    return tuple(dict.fromkeys(one for one in made if _worth_a_try(spec, target, one)))


def two_of_four_cycles_bound(schedule: CudaLinearSchedule, _: Target) -> float:
    """Numbers that a warp reads from shared memory for each product that it does not skip."""
    # Of the weight it reads half, for all columns; of x all.
    return schedule.token_warps / schedule.tokens + 2 * schedule.output_warps / schedule.outputs


def check_two_of_four_schedule(spec: CudaTwoOfFourSpec, target: Target, schedule: CudaLinearSchedule) -> None:
    """Check that the target has such tensor cores, and that a schedule cuts its tiles evenly and fits memory.

    Raises:
        BuildError: it has none.
        ScheduleError: the schedule does not fit.
    """
    if not has_ampere_instructions(target):
        raise BuildError(f"cuda 2:4 linear: expected sm_80 or later, got {target.cpu}; keep the layer dense")
    numbers = (
        schedule.tokens, schedule.outputs, schedule.token_warps, schedule.output_warps, schedule.slices,
        schedule.depth // COLUMNS,
    )  # fmt: skip
    powers = all(number > 0 and not number & (number - 1) for number in numbers)
    if not powers or schedule.depth % (COLUMNS * schedule.slices) or schedule.stages < 2:
        raise ScheduleError(
            f"{schedule}: expected powers of two, at least 2 stages and {COLUMNS} columns a slice"
        )
    least = 16 * schedule.token_warps, ROWS * schedule.output_warps
    if schedule.tokens < least[0] or schedule.outputs < least[1] or schedule.threads > 1024:
        raise ScheduleError(
            f"{schedule}: expected 16 tokens and {ROWS} outputs a warp, and at most 1024 threads"
        )
    if (
        schedule.splits != 1
        or schedule.resident
        or schedule.warpgroups
        or schedule.depth // 8 > schedule.threads
    ):
        raise ScheduleError(
            f"{schedule}: expected one tile a thread block, multiplied by warps, and k in one part"
        )
    if two_of_four_bytes(schedule) > shared_bytes(target):
        raise ScheduleError(f"{schedule}: expected at most {shared_bytes(target)} bytes of stages")


def two_of_four_bytes(schedule: CudaLinearSchedule) -> int:
    """Shared memory of a thread block: that of its stages, and then of 16 tokens' sums of each warp."""
    pieces = schedule.depth // COLUMNS
    stage = pieces * (
        schedule.tokens * 2 * COLUMNS + schedule.outputs * COLUMNS + schedule.outputs // ROWS * 128
    )
    sums = schedule.threads // 32 * 16 * schedule.outputs // schedule.output_warps * 4
    return max(stage * schedule.stages, sums)


def _worth_a_try(spec: CudaTwoOfFourSpec, target: Target, schedule: CudaLinearSchedule) -> bool:
    try:
        check_two_of_four_schedule(spec, target, schedule)
    except ScheduleError:
        return False
    return 4 <= schedule.tokens * schedule.outputs * schedule.slices // schedule.threads <= _SUMS
