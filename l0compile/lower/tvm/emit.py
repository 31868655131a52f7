"""A tensor expression as a function of the module, and the call of it.

``BlockBuilder.emit_te`` does the same, but knows only those symbolic sizes that are dimensions of an operand: a size
read in the middle of an expression leaves it with an undefined variable.
"""

from collections.abc import Callable, Sequence
from typing import Any

from l0compile.hardware._tvm import relax, s_tir, te, tirx
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.lower.tvm.symbols import Symbols

# TVM must not fuse a neighbour into hand-written loops (OpPatternKind.kOpaque).
_OPAQUE = {"op_pattern": 8, SCHEDULED: True}


def emit_tensor(
    builder: Any,
    symbols: Symbols,
    function: Callable[..., Any],
    values: Sequence[Any],
    name: str,
    by_hand: bool = False,
) -> Any:
    """The relax tensor ``function(*placeholders)`` with one placeholder for each relax value.

    Args:
        function: from ``te`` tensors to one ``te`` tensor; may use the variables of ``symbols``.
        by_hand: the loops are final: no schedule, no fusion with neighbours.
    """
    values = [builder.normalize(value) for value in values]
    places = [
        te.placeholder(list(value.ty.shape.values), value.ty.dtype.dtype, name=f"{name}_{i}")
        for i, value in enumerate(values)
    ]
    out = function(*places)
    dims = {
        str(size.name) for tensor in (*places, out) for size in tensor.shape if isinstance(size, tirx.Var)
    }
    free = [variable for key, variable in symbols.variables.items() if key not in dims]
    used: list[Any] = []
    if free:
        body = te.create_prim_func([*places, *free, out], "int64").body
        undefined = list(tirx.analysis.undefined_vars(body, []))
        used = [variable for variable in free if any(variable.same_as(other) for other in undefined)]
        used += [v for v in free if v not in used and _in_shapes(v, (*places, out))]
    prim = te.create_prim_func([*places, *used, out], "int64").without_attr("global_symbol")
    prim = s_tir.renew_defs(prim)
    if by_hand:
        prim = prim.with_attrs(_OPAQUE)
    call = relax.call_tir(
        builder.add_func(prim, name),
        relax.Tuple([*values, *map(relax.prim_value, used)]),
        relax.TensorType(list(out.shape), out.dtype),
    )
    return builder.emit(call)


def _in_shapes(variable: Any, tensors: Sequence[Any]) -> bool:
    """Whether a size that is an expression, and so defines nothing, holds the variable."""
    sizes = [size for tensor in tensors for size in tensor.shape if not isinstance(size, (int, tirx.Var))]
    return any(variable.same_as(v) for size in sizes for v in tirx.analysis.undefined_vars(size))
