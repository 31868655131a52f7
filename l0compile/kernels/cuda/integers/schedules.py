"""Schedules of the linear kernels of 8-bit integers: those of layers of words, as far as they suit."""

from l0compile.errors import ScheduleError
from l0compile.hardware.targets import Target
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.schedules import check_schedule, default_schedule, legal_schedules
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule


def default_integer_schedule(spec: CudaIntegerLinearSpec, target: Target) -> CudaLinearSchedule:
    """The one of a layer of words.

    Raises:
        BuildError: blocks have rows that no tile divides.
    """
    return default_schedule(spec.geometry, target)


def legal_integer_schedules(spec: CudaIntegerLinearSpec, target: Target) -> tuple[CudaLinearSchedule, ...]:
    """The default schedule first, then what fits and is worth a try."""
    return tuple(one for one in legal_schedules(spec.geometry, target) if _has_threads(spec, one))


def check_integer_schedule(spec: CudaIntegerLinearSpec, target: Target, schedule: CudaLinearSchedule) -> None:
    """Check that a schedule cuts the tiles of a spec evenly, and fits memory.

    Raises:
        BuildError: rows of a block are no multiple of 16.
        ScheduleError: the schedule does not fit.
    """
    check_schedule(spec.geometry, target, schedule)
    if not _has_threads(spec, schedule):
        raise ScheduleError(
            f"{schedule}: expected a thread for each of the {schedule.outputs} outputs of a tile"
        )


def _has_threads(spec: CudaIntegerLinearSpec, schedule: CudaLinearSchedule) -> bool:
    """A chunk of a sparse weight is one output's; each thread copies the same one of some rows."""
    return spec.dense or schedule.outputs <= schedule.threads
