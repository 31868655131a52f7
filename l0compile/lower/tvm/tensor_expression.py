"""Adding a tensor expression to a module as a function, and calling it.

``BlockBuilder.emit_te`` does this too, but knows only symbolic sizes that are dimensions of an operand. Any other size
in an expression becomes an undefined variable there.
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
    """Emit the relax tensor ``function(*placeholders)``, with one placeholder for each relax value.

    Args:
        builder: The relax.BlockBuilder that collects the code.
        symbols: The variables of symbolic sizes; ``function`` may use them.
        function: ``te`` tensors -> one ``te`` tensor.
        values: The relax values.
        name: Name of the new function.
        by_hand: The loops are final: TVM neither schedules them nor fuses them with neighbours.
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
    """Return whether a size that is an expression, and so does not define the variable, uses it."""
    sizes = [size for tensor in tensors for size in tensor.shape if not isinstance(size, (int, tirx.Var))]
    return any(variable.same_as(v) for size in sizes for v in tirx.analysis.undefined_vars(size))
