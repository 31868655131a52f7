"""softmax and log_softmax, computed in float32 or float64."""

from typing import Any

from torch import fx

from l0compile.hardware._tvm import te, tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.lowering import Index, Lowering, cast, dtype_name
from l0compile.lower.aten.reducers import reduce_axes


def softmax(logarithm: bool) -> Any:
    """Convert softmax, or log_softmax."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        dim = arguments(node)["dim"]
        result = dtype_name(node.meta["val"].dtype)
        dtype = "float64" if result == "float64" else "float32"

        def function(x: Any) -> Any:
            if not x.shape:
                return te.compute((), lambda: tirx.const(0.0 if logarithm else 1.0, result), name="softmax")
            axis = dim % len(x.shape)
            top = reduce_axes(x, [axis], True, te.max, lambda value: cast(value, dtype), "top")

            def at(i: Index) -> Index:
                return tuple(tirx.const(0, "int64") if d == axis else value for d, value in enumerate(i))

            shifted = te.compute(x.shape, lambda *i: cast(x(*i), dtype) - top(*at(i)), name="shifted")
            # The shifted values are at most 0, or NaN.
            exponents = te.compute(x.shape, lambda *i: f.exp_below(shifted(*i)), name="exponents")
            total = reduce_axes(exponents, [axis], True, te.sum, lambda value: value, "total")
            if logarithm:
                return te.compute(
                    x.shape,
                    lambda *i: cast(shifted(*i) - tirx.log(total(*at(i))), result),
                    name="log_softmax",
                )
            return te.compute(x.shape, lambda *i: cast(exponents(*i) / total(*at(i)), result), name="softmax")

        return low.emit(function, node.args[0], name="softmax")

    return convert
