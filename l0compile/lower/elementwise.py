"""Elementwise operators, with torch's type promotion and broadcasting."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as KIND
from torch._prims_common import elementwise_dtypes

from l0compile._tvm import tirx
from l0compile.capture.nodes import arguments, tensor
from l0compile.errors import BuildError
from l0compile.lower import scalar_functions as f
from l0compile.lower.operands import Index, Lowering, broadcast, cast, dtype_name

aten = torch.ops.aten

Function = Callable[..., Any]
Conversion = Callable[[fx.Node, Lowering], Any]


def elementwise(function: Function, *names: str, kind: Any = KIND.DEFAULT) -> Conversion:
    """A conversion that applies ``function`` to the arguments called ``names``, in torch's computation dtype."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        return pointwise(node, low, function, [given[name] for name in names], kind)

    return convert


def pointwise(node: fx.Node, low: Lowering, function: Function, values: list[Any], kind: Any) -> Any:
    """The tensor of ``node``'s shape with ``function`` of the elements of ``values`` (nodes or numbers)."""
    compute = dtype_name(promoted(values, kind))
    tensors = [value for value in values if tensor(value) is not None]

    def element(index: Index, *operands: Any) -> Any:
        loaded = iter(operands)
        elements = [
            next(loaded)(*broadcast(node, value, index)) if tensor(value) is not None else low.number(value)
            for value in values
        ]
        return function(*(cast(value, compute) for value in elements))

    name = (
        node.target.__name__.split(".")[0].strip("_") if hasattr(node.target, "__name__") else "elementwise"
    )
    return low.compute(node, element, *tensors, name=name)


def promoted(values: list[Any], kind: Any = KIND.DEFAULT) -> torch.dtype:
    """The dtype that torch computes in: bfloat16 and float16 compute in float32."""
    operands = [value.meta["val"] if isinstance(value, fx.Node) else value for value in values]
    compute, _ = elementwise_dtypes(*operands, type_promotion_kind=kind)
    if compute.is_complex:
        raise BuildError("complex numbers have no lowering; compute the real and imaginary parts separately")
    return compute


def _scaled(sign: int) -> Conversion:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        factor = low.number(given.get("alpha", 1))
        swap = node.target in (aten.rsub.Tensor, aten.rsub.Scalar)

        def combine(a: Any, b: Any) -> Any:
            a, b = (b, a) if swap else (a, b)
            if not (isinstance(factor, int) and factor == 1):
                b = b * cast(factor, str(b.ty.dtype))
            if str(a.ty.dtype) == "bool":
                return tirx.any(a, b)
            return a + b if sign > 0 else a - b

        return pointwise(node, low, combine, [given["self"], given["other"]], KIND.DEFAULT)

    return convert


def _times(a: Any, b: Any) -> Any:
    return tirx.all(a, b) if str(a.ty.dtype) == "bool" else a * b


def _divide_mode(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    mode = given["rounding_mode"]
    function = {None: f.divide, "trunc": f.divide_trunc, "floor": f.divide_floor}[mode]
    kind = KIND.INT_TO_FLOAT if mode is None else KIND.DEFAULT
    _refuse_zero(node, given["other"])
    return pointwise(node, low, function, [given["self"], given["other"]], kind)


def _whole_division(function: Function) -> Conversion:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        _refuse_zero(node, given["other"])
        return pointwise(node, low, function, [given["self"], given["other"]], KIND.DEFAULT)

    return convert


def _refuse_zero(node: fx.Node, divisor: Any) -> None:
    if isinstance(divisor, (int, bool)) and divisor == 0 and not node.meta["val"].dtype.is_floating_point:
        raise BuildError(f"{node.name}: {node.target}: whole-number division by zero")


def _power(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    exponent = given["exponent"]
    if isinstance(exponent, (int, float)) and exponent in _POWERS:
        return pointwise(node, low, _POWERS[exponent], [given["self"]], KIND.BOOL_TO_LONG)
    if not node.meta["val"].dtype.is_floating_point:
        raise BuildError(
            f"{node.name}: {node.target}: powers of whole numbers are lowered for the exponents 0 to 4 only"
        )
    return pointwise(node, low, f.power, [given["self"], exponent], KIND.BOOL_TO_LONG)


_POWERS: dict[float, Function] = {
    0: lambda x: f.number(1, x),
    1: lambda x: x,
    2: lambda x: x * x,
    3: lambda x: x * x * x,
    4: lambda x: (x * x) * (x * x),
    0.5: tirx.sqrt,
    -0.5: lambda x: f.number(1, x) / tirx.sqrt(x),
    -1: lambda x: f.number(1, x) / x,
    -2: lambda x: f.number(1, x) / (x * x),
}


def _clamp(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    smallest, largest = given.get("min"), given.get("max")

    def cut(x: Any, *limits: Any) -> Any:
        rest = iter(limits)
        # In this order: where min > max, torch gives max. NaN passes.
        x = _at_least(x, next(rest)) if smallest is not None else x
        return _at_most(x, next(rest)) if largest is not None else x

    values = [value for value in (given["self"], smallest, largest) if value is not None]
    return pointwise(node, low, cut, values, KIND.DEFAULT)


def _at_least(x: Any, limit: Any) -> Any:
    return tirx.Select(tirx.any(x < limit, f.is_nan(limit)), limit, x)


def _at_most(x: Any, limit: Any) -> Any:
    return tirx.Select(tirx.any(x > limit, f.is_nan(limit)), limit, x)


def _hardtanh(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    limits = (0.0, 6.0) if node.target == aten.relu6.default else (given["min_val"], given["max_val"])

    def cut(x: Any) -> Any:
        return _at_most(_at_least(x, f.number(limits[0], x)), f.number(limits[1], x))

    return pointwise(node, low, cut, [given["self"]], KIND.DEFAULT)


def _where(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    condition, left, right = given["condition"], given["self"], given["other"]
    compute = dtype_name(node.meta["val"].dtype)

    def choose(index: Index, *tensors: Any) -> Any:
        loaded = iter(tensors)
        test, a, b = (
            next(loaded)(*broadcast(node, v, index)) if tensor(v) is not None else low.number(v)
            for v in (condition, left, right)
        )
        return tirx.Select(cast(test, "bool"), cast(a, compute), cast(b, compute))

    operands = [value for value in (condition, left, right) if tensor(value) is not None]
    return low.compute(node, choose, *operands, name="where")


def _masked_fill(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    values = [given["self"], given["mask"], given["value"]]
    compute = dtype_name(node.meta["val"].dtype)

    def choose(index: Index, *tensors: Any) -> Any:
        loaded = iter(tensors)
        x, mask, value = (
            next(loaded)(*broadcast(node, v, index)) if tensor(v) is not None else low.number(v)
            for v in values
        )
        return tirx.Select(cast(mask, "bool"), cast(value, compute), cast(x, compute))

    return low.compute(node, choose, *[v for v in values if tensor(v) is not None], name="masked_fill")


def _gelu(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    function = f.gelu_tanh if given["approximate"] == "tanh" else f.gelu
    return pointwise(node, low, function, [given["self"]], KIND.DEFAULT)


def _leaky_relu(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    slope = low.number(given["negative_slope"])

    def function(x: Any) -> Any:
        return tirx.Select(x > f.number(0, x), x, x * cast(slope, str(x.ty.dtype)))

    return pointwise(node, low, function, [given["self"]], KIND.DEFAULT)


def _copy(node: fx.Node, low: Lowering) -> Any:
    source = node.args[0]
    if source.meta["val"].dtype == node.meta["val"].dtype:
        return low.value(source)
    return low.compute(node, lambda i, x: x(*i), source, name="cast")


def _logic(function: Function, *names: str) -> Conversion:
    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        return pointwise(
            node,
            low,
            lambda *x: function(*(cast(v, "bool") for v in x)),
            [given[n] for n in names],
            KIND.DEFAULT,
        )

    return convert


def _bits(of_bools: Function, of_integers: Function) -> Function:
    return lambda *x: (of_bools if str(x[0].ty.dtype) == "bool" else of_integers)(*x)


def _xor(a: Any, b: Any) -> Any:
    return tirx.any(tirx.all(a, tirx.Not(b)), tirx.all(tirx.Not(a), b))


def _order(node: Callable[[Any, Any], Any]) -> Function:
    """A comparison; bools compare as 0 and 1."""

    def compare(a: Any, b: Any) -> Any:
        if str(a.ty.dtype) == "bool":
            a, b = cast(a, "int32"), cast(b, "int32")
        return node(a, b)

    return compare


_UNARY: dict[Any, Function] = {
    aten.abs.default: f.absolute,
    aten.ceil.default: lambda x: tirx.ceil(x) if f.is_float(x) else x,
    aten.floor.default: lambda x: tirx.floor(x) if f.is_float(x) else x,
    aten.trunc.default: lambda x: tirx.trunc(x) if f.is_float(x) else x,
    aten.round.default: lambda x: tirx.nearbyint(x) if f.is_float(x) else x,
    aten.neg.default: lambda x: f.number(0, x) - x if not f.is_float(x) else x * f.number(-1, x),
    aten.relu.default: f.relu,
    aten.sign.default: f.sign,
    aten.square.default: lambda x: x * x,
    aten.silu.default: f.silu,
}
_UNARY_FLOAT: dict[Any, Function] = {
    aten.cos.default: tirx.cos,
    aten.erf.default: f.erf,
    aten.exp.default: f.exp,
    aten.log.default: tirx.log,
    aten.log1p.default: tirx.log1p,
    aten.log2.default: tirx.log2,
    aten.reciprocal.default: lambda x: f.number(1, x) / x,
    aten.rsqrt.default: lambda x: f.number(1, x) / tirx.sqrt(x),
    aten.sigmoid.default: f.sigmoid,
    aten.sin.default: tirx.sin,
    aten.sqrt.default: tirx.sqrt,
    aten.tanh.default: f.tanh,
}
_BINARY: dict[str, tuple[Function, Any]] = {
    "mul": (_times, KIND.DEFAULT),
    "div": (f.divide, KIND.INT_TO_FLOAT),
}
_COMPARISONS = {
    "eq": tirx.EQ, "ne": f.differs, "lt": tirx.LT, "le": tirx.LE, "gt": tirx.GT, "ge": tirx.GE,
}  # fmt: skip
_BITWISE = {
    "and": _bits(tirx.all, tirx.bitwise_and),
    "or": _bits(tirx.any, tirx.bitwise_or),
    "xor": _bits(_xor, tirx.bitwise_xor),
}


def _table() -> dict[Any, Conversion]:
    table: dict[Any, Conversion] = {}
    for op, function in _UNARY.items():
        table[op] = elementwise(function, "self")
    for op, function in _UNARY_FLOAT.items():
        table[op] = elementwise(function, "self", kind=KIND.INT_TO_FLOAT)
    for overload in ("Tensor", "Scalar"):
        for name, (function, kind) in _BINARY.items():
            table[getattr(getattr(aten, name), overload)] = elementwise(function, "self", "other", kind=kind)
        for name, compare in _COMPARISONS.items():
            conversion = elementwise(_order(compare), "self", "other", kind=KIND.ALWAYS_BOOL)
            table[getattr(getattr(aten, name), overload)] = conversion
        for name, function in _BITWISE.items():
            for spelled in (f"__{name}__", f"bitwise_{name}"):
                table[getattr(getattr(aten, spelled), overload)] = elementwise(function, "self", "other")
        table[getattr(aten.add, overload)] = _scaled(1)
        table[getattr(aten.sub, overload)] = table[getattr(aten.rsub, overload)] = _scaled(-1)
        table[getattr(aten.remainder, overload)] = _whole_division(f.remainder)
        table[getattr(aten.fmod, overload)] = _whole_division(f.fmod)
        table[getattr(aten.pow, f"Tensor_{overload}")] = _power
        table[getattr(aten.div, f"{overload}_mode")] = _divide_mode
        table[getattr(aten.masked_fill, overload)] = _masked_fill
    return table


ELEMENTWISE: dict[Any, Conversion] = {
    **_table(),
    aten.floor_divide.default: _whole_division(f.divide_floor),
    aten.maximum.default: elementwise(f.maximum, "self", "other"),
    aten.minimum.default: elementwise(f.minimum, "self", "other"),
    aten.max.other: elementwise(f.maximum, "self", "other"),
    aten.min.other: elementwise(f.minimum, "self", "other"),
    aten.pow.Scalar: elementwise(f.power, "self", "exponent", kind=KIND.BOOL_TO_LONG),
    aten.logical_and.default: _logic(tirx.all, "self", "other"),
    aten.logical_or.default: _logic(tirx.any, "self", "other"),
    aten.logical_xor.default: _logic(_xor, "self", "other"),
    aten.logical_not.default: _logic(tirx.Not, "self"),
    aten.bitwise_not.default: elementwise(_bits(tirx.Not, tirx.bitwise_not), "self"),
    aten.isnan.default: elementwise(f.is_nan, "self", kind=KIND.ALWAYS_BOOL),
    aten.isinf.default: elementwise(
        lambda x: tirx.EQ(tirx.abs(x), f.number(math.inf, x)) if f.is_float(x) else tirx.const(False, "bool"),
        "self", kind=KIND.ALWAYS_BOOL,
    ),
    aten.clamp.default: _clamp,
    aten.clamp.Tensor: _clamp,
    aten.clamp_min.default: _clamp,
    aten.clamp_min.Tensor: _clamp,
    aten.clamp_max.default: _clamp,
    aten.clamp_max.Tensor: _clamp,
    aten.hardtanh.default: _hardtanh,
    aten.relu6.default: _hardtanh,
    aten.gelu.default: _gelu,
    aten.leaky_relu.default: _leaky_relu,
    aten.where.self: _where,
    aten.where.ScalarOther: _where,
    aten.where.ScalarSelf: _where,
    aten.where.Scalar: _where,
    aten.masked_fill.Scalar: _masked_fill,
    aten._to_copy.default: _copy,
    aten.clone.default: _copy,
    aten.alias.default: _copy,
    aten.detach.default: _copy,
    aten.type_as.default: _copy,
}  # fmt: skip
