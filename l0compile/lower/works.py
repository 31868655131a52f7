"""What each packed operator of a program computes, as the work that costs are recorded for."""

from collections.abc import Iterator
from math import ceil, prod
from typing import Any

import torch
from torch import fx

from l0compile.hardware.costs import Costs, Work
from l0compile.ir.nodes import example_size, shape
from l0compile.ir.program import Program
from l0compile.kernels.cpu.linear import default_schedule
from l0compile.kernels.spec import LinearSchedule, LinearSpec, PackSpec, TokenTile
from l0compile.kernels.work import schedule_data, schedule_from, work_of
from l0compile.lower.kernel_calls import KernelCall, kernel_call


def works(program: Program) -> Iterator[tuple[fx.Node, Work | None]]:
    """The kernel launches of a packed program, in order; None for a kernel whose costs are not recorded."""
    for node in program.graph.nodes:
        call = kernel_call(node) if node.op == "call_function" else None
        if call is not None:
            yield node, work_of_call(node, call)


def work_of_call(node: fx.Node, call: KernelCall) -> Work | None:
    """The work of one launch, at the sizes of the example inputs."""
    spec, sizes = call.spec, [_size(size) for size in call.sizes]
    if isinstance(spec, LinearSpec):
        stored, cols, rows = map(example_size, shape(call.tensors[1]))
        blocks = ceil(spec.n / rows) * ceil(spec.k / cols)
        return work_of(spec, _packed_tokens(node, call), min(1.0, stored / blocks))
    if isinstance(spec, PackSpec):
        rows_node = node if spec.unpack else call.tensors[0]
        return work_of(spec, prod(map(example_size, shape(rows_node)[:-1])))
    if len(sizes) == 3:
        return work_of(spec, sizes[0] * sizes[1], sizes=(sizes[1], sizes[2]))
    return work_of(spec, _packed_tokens(node, call))


def schedule_for(
    node: fx.Node, call: KernelCall, tile: TokenTile, costs: Costs | None
) -> LinearSchedule | None:
    """The schedule of a launch: the best that was measured, else the default; None for a kernel that has only one."""
    if not isinstance(call.spec, LinearSpec):
        return None
    default = default_schedule(call.spec, tile)
    work = work_of_call(node, call) if costs else None
    if costs is None or work is None:
        return default
    return schedule_from(costs.schedule(work, schedule_data(default)))


def _packed_tokens(node: fx.Node, call: KernelCall) -> int:
    """Tokens of a packed result [tiles, features, lanes], as far as its kernel knows which lanes hold some."""
    if call.sizes:
        return _size(call.sizes[0])
    tiles, _, lanes = map(example_size, shape(node))
    tail = getattr(call.spec, "tail", 0)
    return int((tiles - 1) * lanes + tail if tail else tiles * lanes)


def _size(value: Any) -> int:
    if isinstance(value, fx.Node):
        value = value.meta["val"]
    return (
        value
        if isinstance(value, int)
        else example_size(value)
        if isinstance(value, torch.SymInt)
        else int(value)
    )
