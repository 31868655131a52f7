"""What the linear layers of a model take together, from the account of its regions: no compiled code is needed."""

from collections.abc import Iterable
from math import prod

from l0compile.hardware.costs.lookup import Costs
from l0compile.hardware.costs.record import Work
from l0compile.ir.records import Region


def regions_ms(regions: Iterable[Region], costs: Costs, tokens: int) -> float | None:
    """Milliseconds of the linear layers among ``regions`` in a call of ``tokens`` tokens; None where nothing like one
    of them was measured."""
    total = 0.0
    for region in regions:
        if region.kind != "linear" or region.format == "dropped":
            continue
        left = prod(region.shape_after) / prod(region.shape_before)
        kept = 1.0 if region.block is None else min(1.0, region.density / left)
        found = costs.estimate(Work("linear", region.shape_after, region.block, kept, tokens))
        if found is None:
            return None
        total += found.ms
    return total
