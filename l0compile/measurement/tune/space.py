"""Which schedules of a workload are worth building: those that a count of cycles does not rule out."""

from math import ceil
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
    if isinstance(machine, Target):
        default, *others = schedules.legal(spec, machine)
        # Many small tiles may keep more multiprocessors busy than few large ones, which read less for each product.
        return default, *sorted(others, key=lambda one: promise(work, one, machine, machine.cores))
    bounds = {schedule: schedules.bound(schedule, machine) for schedule in schedules.legal(spec, machine)}
    default, *others = bounds
    lowest = min(bounds.values())
    return (default, *(schedule for schedule in others if bounds[schedule] <= _SLACK * lowest))


def promise(work: KernelWorkload, schedule: Any, target: Target, at_once: int) -> float:
    """Orders schedules of a kernel for a GPU, best first: what is read for a product, over the share that is busy.

    Args:
        work: what the kernel computes.
        schedule: one of its schedules.
        target: the GPU.
        at_once: thread blocks that it holds.
    """
    schedules = costed_kernel(work.op, "cuda").schedules
    assert schedules is not None and schedules.blocks is not None
    blocks = schedules.blocks(spec_of(work, target), schedule, work)
    busy = blocks / (ceil(blocks / at_once) * at_once)
    return schedules.bound(schedule, target) / busy
