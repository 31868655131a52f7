"""Operators that choose elements by a condition: clamp, where, masked_fill and the like."""

from typing import Any

import torch
from torch import fx
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as KIND

from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import arguments, tensor
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.lowering import Index, Lowering, broadcast, cast, dtype_name
from l0compile.lower.aten.pointwise import pointwise

aten = torch.ops.aten


def clamp(node: fx.Node, low: Lowering) -> Any:
    """Convert clamp, clamp_min and clamp_max; a limit is a number or a tensor."""
    given = arguments(node)
    smallest, largest = given.get("min"), given.get("max")

    def cut(x: Any, *limits: Any) -> Any:
        rest = iter(limits)
        # In this order, because torch returns max where min > max. NaN stays NaN.
        x = _at_least(x, next(rest)) if smallest is not None else x
        return _at_most(x, next(rest)) if largest is not None else x

    values = [value for value in (given["self"], smallest, largest) if value is not None]
    return pointwise(node, low, cut, values, KIND.DEFAULT)


def _at_least(x: Any, limit: Any) -> Any:
    return tirx.Select(tirx.any(x < limit, f.is_nan(limit)), limit, x)


def _at_most(x: Any, limit: Any) -> Any:
    return tirx.Select(tirx.any(x > limit, f.is_nan(limit)), limit, x)


def hardtanh(node: fx.Node, low: Lowering) -> Any:
    """Convert hardtanh and relu6."""
    given = arguments(node)
    limits = (0.0, 6.0) if node.target == aten.relu6.default else (given["min_val"], given["max_val"])

    def cut(x: Any) -> Any:
        return _at_most(_at_least(x, f.number(limits[0], x)), f.number(limits[1], x))

    return pointwise(node, low, cut, [given["self"]], KIND.DEFAULT)


def where(node: fx.Node, low: Lowering) -> Any:
    """Convert where; either value may be a number."""
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


def masked_fill(node: fx.Node, low: Lowering) -> Any:
    """Convert masked_fill."""
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


def leaky_relu(node: fx.Node, low: Lowering) -> Any:
    """Convert leaky_relu."""
    given = arguments(node)
    slope = low.number(given["negative_slope"])

    def function(x: Any) -> Any:
        return tirx.Select(x > f.number(0, x), x, x * cast(slope, str(x.ty.dtype)))

    return pointwise(node, low, function, [given["self"]], KIND.DEFAULT)
