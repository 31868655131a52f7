"""Tensors to call a kernel with, for calls that take turns."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.kernels import TokenTile, kind_of
from l0compile.kernels.costs import costed_kernel, spec_of

# Weights of a model's layers take turns in the caches: those of one kernel are rotated through this much memory, more
# than a second-level cache holds and less than a third.
_ROTATED_BYTES = 8 << 20
_MOST_SETS = 32


Make = Callable[[NDArray[Any] | Tensor], Any]


def operands(
    work: KernelWorkload, machine: TokenTile | Target, make: Make, seed: int = 0
) -> list[tuple[Any, ...]]:
    """Arguments of the kernel for calls that take turns, the result last: the same activations, other weights.

    For a GPU there is one call: what it finds in the caches is written over before it.

    Args:
        work: what the kernel computes.
        machine: what it is emitted for.
        make: a tensor of a contiguous array or tensor, each time in memory of its own.
        seed: of the random numbers.
    """
    costs = costed_kernel(work.op, kind_of(machine)).costs
    assert costs is not None
    made = costs.operands(spec_of(work, machine), work, machine, np.random.default_rng(seed))
    if isinstance(machine, Target):
        return [tuple(value if isinstance(value, int) else make(value) for value in made.values)]
    weights = [np.asarray(made.values[place]) for place in made.weights]
    # Other places in memory, the same numbers: only the first matter to the time, and the second take long to draw.
    sets = min(_MOST_SETS, 1 + _ROTATED_BYTES // weights[0].nbytes) if weights else 1
    values: list[Any] = [
        value if isinstance(value, int) or place in made.weights else make(value)
        for place, value in enumerate(made.values)
    ]
    found = []
    for _ in range(sets):
        for place, weight in zip(made.weights, weights, strict=True):
            values[place] = make(weight)
        found.append(tuple(values))
    return found
