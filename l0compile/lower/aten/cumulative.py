"""Cumulative sums and products."""

from collections.abc import Callable
from typing import Any

from torch import fx

from l0compile.hardware._tvm import TB, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten.loops import nested_loops
from l0compile.lower.aten.lowering import Lowering, accumulator, cast


def cumulative(combine: Callable[[Any, Any], Any], name: str) -> Any:
    """Convert cumsum or cumprod, which combine each element with the result before it."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        source: Any = node.args[0]
        rank = source.meta["val"].ndim
        if not rank:
            return low.compute(node, lambda i, x: x(), source, name=name)
        axis, dtype = arguments(node)["dim"] % rank, accumulator(node)

        def body(out: Any, x: Any) -> None:
            before, after = list(x.shape[:axis]), list(x.shape[axis + 1 :])
            with nested_loops([*before, x.shape[axis], *after]) as index:
                k = index[axis]
                last = (*index[:axis], tirx.max(k - 1, tirx.const(0, "int64")), *index[axis + 1 :])
                value = cast(x[tuple(index)], dtype)
                # The first element stays as it is; what is read before it is not used.
                TB.buffer_store(out, tirx.if_then_else(k > 0, combine(out[last], value), value), list(index))

        return low.extern(node, body, source, name=name, dtype=dtype)

    return convert
