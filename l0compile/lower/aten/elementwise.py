"""The conversions of elementwise operators."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as KIND

from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.arithmetic import divide_mode, integer_division, power, scaled, times
from l0compile.lower.aten.clamp_where import clamp, hardtanh, leaky_relu, masked_fill, where
from l0compile.lower.aten.lowering import Conversion, Lowering, cast, round_bfloat16
from l0compile.lower.aten.pointwise import Function, elementwise, pointwise

aten = torch.ops.aten


def _gelu(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    function = f.gelu_tanh if given["approximate"] == "tanh" else f.gelu
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
    """Make a comparison in which bools compare as 0 and 1."""

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
    "mul": (times, KIND.DEFAULT),
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
        table[getattr(aten.add, overload)] = scaled(1)
        table[getattr(aten.sub, overload)] = table[getattr(aten.rsub, overload)] = scaled(-1)
        table[getattr(aten.remainder, overload)] = integer_division(f.remainder)
        table[getattr(aten.fmod, overload)] = integer_division(f.fmod)
        table[getattr(aten.pow, f"Tensor_{overload}")] = power
        table[getattr(aten.div, f"{overload}_mode")] = divide_mode
        table[getattr(aten.masked_fill, overload)] = masked_fill
    return table


ELEMENTWISE: dict[Any, Conversion] = {
    torch.ops.l0compile.round_bfloat16.default: elementwise(round_bfloat16, "x"),
    **_table(),
    aten.floor_divide.default: integer_division(f.divide_floor),
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
    aten.clamp.default: clamp,
    aten.clamp.Tensor: clamp,
    aten.clamp_min.default: clamp,
    aten.clamp_min.Tensor: clamp,
    aten.clamp_max.default: clamp,
    aten.clamp_max.Tensor: clamp,
    aten.hardtanh.default: hardtanh,
    aten.relu6.default: hardtanh,
    aten.gelu.default: _gelu,
    aten.leaky_relu.default: leaky_relu,
    aten.where.self: where,
    aten.where.ScalarOther: where,
    aten.where.ScalarSelf: where,
    aten.where.Scalar: where,
    aten.masked_fill.Scalar: masked_fill,
    aten._to_copy.default: _copy,
    aten.clone.default: _copy,
    aten.alias.default: _copy,
    aten.detach.default: _copy,
    aten.type_as.default: _copy,
}  # fmt: skip
