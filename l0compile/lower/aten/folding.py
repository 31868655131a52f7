"""Folding axes of a tensor expression, and what extremes fold with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from l0compile.hardware._tvm import te, tirx
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.operands import long

Reducer = Callable[..., Any]


def lowest(dtype: str) -> Any:
    """What every maximum is at least."""
    return tirx.const(-math.inf, dtype) if "float" in dtype else tirx.min_value(dtype)


def highest(dtype: str) -> Any:
    """What every minimum is at most."""
    return tirx.const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


# torch's extremes are NaN as soon as one element is.
MAX = te.comm_reducer(f.maximum, lowest, name="max")
MIN = te.comm_reducer(f.minimum, highest, name="min")
PRODUCT = te.comm_reducer(lambda a, b: a * b, lambda dtype: tirx.const(1, dtype), name="product")


def axes_of(node: fx.Node, dims: Any) -> list[int]:
    """The axes that ``dims`` of a reduction names, counted from 0; all for None or an empty list."""
    rank = node.args[0].meta["val"].ndim
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        return list(range(rank))
    given = dims if isinstance(dims, (list, tuple)) else [dims]
    return sorted({dim % rank for dim in given}) if rank else []


def reduced(x: Any, axes: Sequence[int], keep: bool) -> list[Any]:
    """The shape after folding ``axes``, kept as 1 or dropped."""
    return [1 if d in axes else size for d, size in enumerate(x.shape) if keep or d not in axes]


def fold(
    x: Any, axes: Sequence[int], keep: bool, reducer: Reducer, load: Callable[[Any], Any], name: str
) -> Any:
    """The tensor expression that reduces ``load(x[...])`` over ``axes``."""
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
