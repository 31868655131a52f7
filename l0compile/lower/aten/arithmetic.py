"""Sums, products, quotients and powers, with torch's rules for integers and bools."""

from typing import Any

import torch
from torch import fx
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as KIND

from l0compile.errors import BuildError
from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import arguments
from l0compile.lower.aten import scalar_functions as f
from l0compile.lower.aten.lowering import Conversion, Lowering, cast
from l0compile.lower.aten.pointwise import Function, pointwise

aten = torch.ops.aten


def scaled(sign: int) -> Conversion:
    """Convert ``self + sign * alpha * other``, with the operands swapped for rsub; the sum of bools is their or."""

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
            return a + b if sign > 0 else f.subtract(a, b)

        return pointwise(node, low, combine, [given["self"], given["other"]], KIND.DEFAULT)

    return convert


def times(a: Any, b: Any) -> Any:
    """Multiply; the product of bools is their and."""
    return tirx.all(a, b) if str(a.ty.dtype) == "bool" else a * b


def divide_mode(node: fx.Node, low: Lowering) -> Any:
    """Convert div with a rounding mode.

    Raises:
        BuildError: The divisor of an integer division is the number 0.
    """
    given = arguments(node)
    mode = given["rounding_mode"]
    function = {None: f.divide, "trunc": f.divide_trunc, "floor": f.divide_floor}[mode]
    kind = KIND.INT_TO_FLOAT if mode is None else KIND.DEFAULT
    _refuse_zero(node, given["other"])
    return pointwise(node, low, function, [given["self"], given["other"]], kind)


def integer_division(function: Function) -> Conversion:
    """Convert floor_divide or a remainder, where an integer division by the number 0 is a BuildError."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        _refuse_zero(node, given["other"])
        return pointwise(node, low, function, [given["self"], given["other"]], KIND.DEFAULT)

    return convert


def _refuse_zero(node: fx.Node, divisor: Any) -> None:
    if isinstance(divisor, (int, bool)) and divisor == 0 and not node.meta["val"].dtype.is_floating_point:
        raise BuildError(f"{node.name}: {node.target}: integer division by zero")


def power(node: fx.Node, low: Lowering) -> Any:
    """Convert ``self ** exponent``.

    Raises:
        BuildError: ``self`` holds integers, and the exponent is not a number from 0 to 4.
    """
    given = arguments(node)
    exponent = given["exponent"]
    if isinstance(exponent, (int, float)) and exponent in _POWERS:
        return pointwise(node, low, _POWERS[exponent], [given["self"]], KIND.BOOL_TO_LONG)
    if not node.meta["val"].dtype.is_floating_point:
        raise BuildError(
            f"{node.name}: {node.target}: expected an exponent from 0 to 4 for a power of integers, got {exponent}"
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
