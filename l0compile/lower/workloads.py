"""What the kernels of a program compute, as costs are recorded for it, and the schedules that these costs pick."""

from collections.abc import Iterator
from typing import Any

from torch import fx

from l0compile.hardware.costs import Costs, KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.kernels import TokenTile, kernel_call, kernel_of, kind_of
from l0compile.kernels.definition import KernelCall, schedule_data


def workloads(program: Program, kind: str = "llvm") -> Iterator[KernelWorkload]:
    """The kernel launches of a program in the layouts of ``kind``, in order, at the sizes of the example inputs.

    Kernels whose costs are not recorded are left out.
    """
    for node in program.graph.nodes:
        call = kernel_call(node, kind) if node.op == "call_function" else None
        costs = kernel_of(call.spec, kind).costs if call else None
        work = costs.workload(node, call) if call and costs else None
        if work is not None:
            yield work


def schedule_for(node: fx.Node, call: KernelCall, machine: TokenTile | Target, costs: Costs | None) -> Any:
    """The schedule of a launch: the best that was measured, else the default; None for a kernel that has only one."""
    kernel = kernel_of(call.spec, kind_of(machine))
    if kernel.schedules is None:
        return None
    default = kernel.schedules.default(call.spec, machine)
    work = kernel.costs.workload(node, call) if costs is not None and kernel.costs is not None else None
    if costs is None or work is None:
        return default
    return kernel.schedule_from(costs.schedule(work, schedule_data(default)))
