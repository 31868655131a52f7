"""Shares of equal work: where each thread's rows of a linear layer begin.

A unit is a group of rows that a microkernel computes at once. Rows of a block-sparse weight hold different numbers of
blocks, so shares are cut by those, not by rows.
"""

from l0compile.kernels.cpu.lanes import Expr, store, variable
from l0compile.kernels.cpu.linear.blocks import LinearBuffers
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.tir import TB

# What beginning and storing a unit costs, in columns of a weight.
_UNIT_COST = 2


def units(spec: LinearSpec, schedule: LinearSchedule) -> int:
    """Units of a layer; in a dense one those past the last row are left out."""
    if spec.dense:
        return -(-spec.n // schedule.rows)
    return -(-spec.n // spec.rows) * (spec.rows // schedule.rows)


def first_unit(
    spec: LinearSpec, schedule: LinearSchedule, to: LinearBuffers, share: Expr, shares: int
) -> Expr:
    """First unit of a share; for the share after the last, the number of units."""
    if spec.dense:
        return share * units(spec, schedule) // shares
    if shares == 1:
        return share * units(spec, schedule)
    blocks, groups = -(-spec.n // spec.rows), spec.rows // schedule.rows

    def cost(j: Expr) -> Expr:
        """Of the block rows before ``j``."""
        return to.indptr[j] * spec.cols + j * _UNIT_COST

    target, found = variable(1, "int32"), variable(1, "int32")
    store(target, TB.cast(cost(blocks) * share // shares, "int32"), 0)
    store(found, TB.int32(0), 0)
    steps = blocks.bit_length()
    with TB.serial(0, steps) as turn:
        # The largest j whose rows before it cost no more than the target.
        there = TB.min(found[0] + TB.shift_left(TB.int32(1), TB.cast(steps - 1 - turn, "int32")), blocks)
        store(found, TB.Select(cost(there) <= target[0], there, found[0]), 0)
    if groups > 1:
        # Within a block row every group costs the same.
        j = found[0]
        after = TB.min(j + 1, blocks)
        inside = (target[0] - cost(j)) * groups // TB.max(cost(after) - cost(j), 1)
        store(found, j * groups + inside, 0)
    return found[0]
