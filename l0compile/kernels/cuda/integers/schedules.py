"""Schedules of the linear kernels of 8-bit integers: those of layers of words, as far as they suit."""

from dataclasses import replace

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.architecture import capability
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.schedules import check_schedule, default_schedule, legal_schedules
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule

# Threads of a multiprocessor that leave 64 registers to each; code for sm_90 and later takes up to 8 more.
_TIGHT, _HOPPER = 1024, 90
# A block row is cut into columns of a tensor core's tile.
LEAST_ROWS = 16


def default_integer_schedule(spec: CudaIntegerLinearSpec, target: Target) -> CudaLinearSchedule:
    """The one of a layer of words, with fewer thread blocks where registers would be too few for their sums.

    Raises:
        BuildError: blocks have rows that no tile divides.
    """
    _check_rows(spec)
    made = default_schedule(spec.geometry, target)
    tight = not spec.dense and made.blocks * made.threads >= _TIGHT and capability(target) >= _HOPPER
    return replace(made, blocks=made.blocks - 1) if tight else made


def legal_integer_schedules(spec: CudaIntegerLinearSpec, target: Target) -> tuple[CudaLinearSchedule, ...]:
    """The default schedule first, then what fits and is worth a try."""
    made = default_integer_schedule(spec, target), *legal_schedules(spec.geometry, target)
    return tuple(dict.fromkeys(one for one in made if _has_threads(spec, one)))


def check_integer_schedule(spec: CudaIntegerLinearSpec, target: Target, schedule: CudaLinearSchedule) -> None:
    """Check that a schedule cuts the tiles of a spec evenly, and fits memory.

    Raises:
        BuildError: rows of a block are no multiple of 16.
        ScheduleError: the schedule does not fit.
    """
    _check_rows(spec)
    check_schedule(spec.geometry, target, schedule)
    if not _has_threads(spec, schedule):
        raise ScheduleError(
            f"{schedule}: expected a thread for each of the {schedule.outputs} outputs of a tile"
        )


def _check_rows(spec: CudaIntegerLinearSpec) -> None:
    if spec.rows % LEAST_ROWS:
        raise BuildError(
            f"cuda int8 linear: expected blocks of rows that are a multiple of {LEAST_ROWS}, got "
            f"{spec.rows}x{16 * spec.chunks}; choose such a block, or leave the layer dense"
        )


def _has_threads(spec: CudaIntegerLinearSpec, schedule: CudaLinearSchedule) -> bool:
    """A chunk of a sparse weight is one output's; each thread copies the same one of some rows."""
    return spec.dense or schedule.outputs <= schedule.threads
