"""Operators that make a tensor from numbers: full, arange, eye."""

from typing import Any

import torch
from torch import fx

from l0compile.hardware._tvm import tirx
from l0compile.ir.nodes import arguments
from l0compile.ir.operator_facts import operators
from l0compile.lower.aten.lowering import Index, Lowering, cast, dtype_name

aten = torch.ops.aten


def _filled(value: Any) -> Any:
    def convert(node: fx.Node, low: Lowering) -> Any:
        filler = low.number(arguments(node)["fill_value"] if value is None else value)
        return low.compute(node, lambda index: filler, name="full")

    return convert


def _arange(node: fx.Node, low: Lowering) -> Any:
    given = arguments(node)
    start, step = low.number(given.get("start", 0)), low.number(given.get("step", 1))
    dtype = dtype_name(node.meta["val"].dtype)
    # torch computes start + i * step in float64 for a floating-point result, and in int64 for integers.
    wide = "float64" if "float" in dtype else "int64"

    def element(index: Index) -> Any:
        return cast(cast(start, wide) + cast(index[0], wide) * cast(step, wide), dtype)

    return low.compute(node, element, name="arange")


def _eye(node: fx.Node, low: Lowering) -> Any:
    return low.compute(node, lambda index: tirx.EQ(index[0], index[1]), name="eye")


def _scalar(node: fx.Node, low: Lowering) -> Any:
    number = low.number(node.args[0])
    return low.compute(node, lambda index: number, name="scalar")


CREATION: dict[Any, Any] = {
    aten.arange.default: _arange,
    aten.arange.start: _arange,
    aten.arange.start_step: _arange,
    aten.eye.default: _eye,
    aten.eye.m: _eye,
    **dict.fromkeys(operators(fills="fill_value"), _filled(None)),
    **dict.fromkeys(operators(fills=0.0), _filled(0)),
    **dict.fromkeys(operators(fills=1.0), _filled(1)),
    aten.scalar_tensor.default: _scalar,
}
