"""Which schedules of a work are worth building: those that a count of loads does not rule out."""

from l0compile.hardware.costs import Work
from l0compile.kernels.cpu.legal_schedules import legal_schedules
from l0compile.kernels.spec import LinearSchedule, LinearSpec, TokenTile
from l0compile.kernels.work import spec_of

# Steps of a multiplication before its result can be added to: fewer sums in flight leave the unit idle.
_LATENCY = 4
# A schedule whose bound is this much above the lowest is not built.
_SLACK = 1.1


def candidates(work: Work, tile: TokenTile) -> tuple[LinearSchedule | None, ...]:
    """The schedules to measure, the default one first; (None,) for a kernel that has only one."""
    spec = spec_of(work, tile)
    if not isinstance(spec, LinearSpec):
        return (None,)
    default, *others = legal_schedules(spec, tile)
    bounds = {schedule: _steps(schedule) for schedule in (default, *others)}
    lowest = min(bounds.values())
    return (default, *(schedule for schedule in others if bounds[schedule] <= _SLACK * lowest))


def _steps(schedule: LinearSchedule) -> float:
    """Least steps of the machine for one multiplication of registers: one multiplication a step, a load of tokens in
    two steps (they come from the second cache), two broadcast weights a step, no sum added to before it is ready."""
    multiplications = schedule.rows * schedule.vectors
    loads = 2 * schedule.vectors + schedule.rows / 2
    waiting = _LATENCY / schedule.sums
    return max(multiplications, loads, waiting) / multiplications
