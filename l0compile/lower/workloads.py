"""What the kernels of a program compute, as costs are recorded for it, and the schedules that these costs pick."""

from collections.abc import Iterator
from typing import Any

from torch import fx

from l0compile.hardware.costs import Costs, KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.kernels import TokenTile, kernel_call, kernel_of, kind_of
from l0compile.kernels.definition import KernelCall, schedule_data


def workloads(program: Program) -> Iterator[KernelWorkload]:
    """The kernel launches of a packed program, in order, at the sizes of the example inputs.

    Kernels whose costs are not recorded are left out.
    """
    for node in program.graph.nodes:
        call = kernel_call(node) if node.op == "call_function" else None
        costs = kernel_of(call.spec).costs if call else None
        if call and costs:
            yield costs.workload(node, call)


def schedule_for(node: fx.Node, call: KernelCall, machine: TokenTile | Target, costs: Costs | None) -> Any:
    """The schedule of a launch: the best that was measured, else the default; None for a kernel that has only one."""
    kernel = kernel_of(call.spec, kind_of(machine))
    if kernel.schedules is None:
        return None
    default = kernel.schedules.default(call.spec, machine)
    if costs is None or kernel.costs is None:
        return default
    return kernel.schedule_from(costs.schedule(kernel.costs.workload(node, call), schedule_data(default)))
