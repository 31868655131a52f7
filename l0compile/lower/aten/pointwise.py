"""Elementwise operators in general: a function of elements, with torch's type promotion and broadcasting."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND as KIND
from torch._prims_common import elementwise_dtypes

from l0compile.errors import BuildError
from l0compile.ir.nodes import arguments, tensor
from l0compile.lower.aten.lowering import Conversion, Index, Lowering, broadcast, cast, dtype_name

Function = Callable[..., Any]


def elementwise(function: Function, *names: str, kind: Any = KIND.DEFAULT) -> Conversion:
    """Make a conversion that applies ``function`` to the arguments called ``names``, in torch's computation dtype."""

    def convert(node: fx.Node, low: Lowering) -> Any:
        given = arguments(node)
        return pointwise(node, low, function, [given[name] for name in names], kind)

    return convert


def pointwise(node: fx.Node, low: Lowering, function: Function, values: list[Any], kind: Any) -> Any:
    """Emit a tensor of the node's shape by applying ``function`` to the elements of ``values`` (nodes or numbers)."""
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
    """Return the dtype that torch computes in, which is float32 for bfloat16 and float16."""
    operands = [value.meta["val"] if isinstance(value, fx.Node) else value for value in values]
    compute, _ = elementwise_dtypes(*operands, type_promotion_kind=kind)
    if compute.is_complex:
        raise BuildError("complex numbers have no lowering; compute the real and imaginary parts separately")
    return compute
