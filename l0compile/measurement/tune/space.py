"""Which schedules of a workload are worth building: those that a count of cycles does not rule out."""

from typing import Any

from l0compile.hardware.costs import KernelWorkload
from l0compile.kernels import TokenTile
from l0compile.kernels.costs import costed_kernel, spec_of

# A schedule whose bound is this much above the lowest is not built.
_SLACK = 1.1


def candidates(work: KernelWorkload, tile: TokenTile) -> tuple[Any, ...]:
    """The schedules to measure, the default one first; (None,) for a kernel that has only one.

    Raises:
        ConfigError: no kernel does such work.
    """
    spec, schedules = spec_of(work, tile), costed_kernel(work.op).schedules
    if schedules is None:
        return (None,)
    bounds = {schedule: schedules.bound(schedule, tile) for schedule in schedules.legal(spec, tile)}
    default, *others = bounds
    lowest = min(bounds.values())
    return (default, *(schedule for schedule in others if bounds[schedule] <= _SLACK * lowest))
