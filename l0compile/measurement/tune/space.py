"""Which schedules of a workload are worth building: those that a count of cycles does not rule out."""

from typing import Any

from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels import TokenTile, kind_of
from l0compile.kernels.costs import costed_kernel, spec_of

# A schedule whose bound is this much above the lowest is not built.
_SLACK = 1.1


def candidates(work: KernelWorkload, machine: TokenTile | Target) -> tuple[Any, ...]:
    """The schedules to measure, the default one first; (None,) for a kernel that has only one.

    Raises:
        ConfigError: no kernel does such work.
    """
    spec, schedules = spec_of(work, machine), costed_kernel(work.op, kind_of(machine)).schedules
    if schedules is None:
        return (None,)
    bounds = {schedule: schedules.bound(schedule, machine) for schedule in schedules.legal(spec, machine)}
    default, *others = bounds
    lowest = min(bounds.values())
    return (default, *(schedule for schedule in others if bounds[schedule] <= _SLACK * lowest))
