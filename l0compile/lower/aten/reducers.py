"""Reducing axes of a tensor expression, and the reducers of extremes and products."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from l0compile.hardware._tvm import te, tirx
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.lowering import long

Reducer = Callable[..., Any]


def lowest(dtype: str) -> Any:
    """Return the smallest value of a dtype, the neutral element of max."""
    return tirx.const(-math.inf, dtype) if "float" in dtype else tirx.min_value(dtype)


def highest(dtype: str) -> Any:
    """Return the largest value of a dtype, the neutral element of min."""
    return tirx.const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


# In torch, a maximum or minimum is NaN if any element is.
MAX = te.comm_reducer(f.maximum, lowest, name="max")
MIN = te.comm_reducer(f.minimum, highest, name="min")
PRODUCT = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="product")


def axes_of(node: fx.Node, dims: Any) -> list[int]:
    """List the axes that ``dims`` names, counted from 0; None and an empty list stand for all."""
    rank = node.args[0].meta["val"].ndim
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return list(range(rank))
    given = dims if isinstance(dims, (list, tuple)) else [dims]
    return sorted({dim % rank for dim in given}) if rank else []


def reduced(x: Any, axes: Sequence[int], keep: bool) -> list[Any]:
    """Return the shape after a reduction of ``axes``, which become 1 or are dropped."""
    return [1 if d in axes else size for d, size in enumerate(x.shape) if keep or d not in axes]


def reduce_axes(
    x: Any, axes: Sequence[int], keep: bool, reducer: Reducer, load: Callable[[Any], Any], name: str
) -> Any:
    """Make the tensor expression that reduces ``load(x[...])`` over ``axes``."""
    over = {d: te.reduce_axis((0, x.shape[d]), name=f"r{d}") for d in axes}

    def element(*index: Any) -> Any:
        rest = iter(index)
        full = []
        for d in range(len(x.shape)):
            if d in over:
                full.append(over[d])
                if keep:
                    next(rest)
            else:
                full.append(next(rest))
        value = load(x(*full))
        return reducer(value, axis=list(over.values())) if over else value

    return te.compute(long(reduced(x, axes, keep)), element, name=name)
