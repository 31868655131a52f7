"""Shrink layers of narrow numbers: what removed constants add to a sum stays, exactly."""

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import extent, single_values
from l0compile.ir.nodes import arguments, set_argument, shape
from l0compile.rewrite.compact.shrink import Cutter, register
from l0compile.rewrite.compact.shrink_sums import add_to_bias

l0 = torch.ops.l0compile


def _int8(cutter: Cutter, node: fx.Node) -> None:
    """start += W[:, removed] @ (constants - zero point), in whole numbers."""
    given = arguments(node)
    weight, start = cutter.editor.value(given["weight"]), cutter.editor.value(given["start"])
    levels = _removed(cutter, given["x"], float(given["zero_point"]))
    if weight is None or levels is None or not bool(levels.any()):
        return
    share = (weight.double() @ levels).to(torch.int32)
    total = share if start is None else start + share
    name = f"{given['weight'].target}_removed"
    set_argument(node, "start", cutter.add_parameter(name, total, node, node, -1))


def _bfloat16(cutter: Cutter, node: fx.Node) -> None:
    """bias += W[:, removed] @ constants, rounded as they would have been."""
    given = arguments(node)
    weight, constants = cutter.editor.value(given["weight"]), _removed(cutter, given["x"], 0.0)
    if weight is not None and constants is not None and bool(constants.any()):
        rounded = constants.to(torch.bfloat16).double()
        add_to_bias(cutter, node, (weight.double() @ rounded).float(), -1)


def _removed(cutter: Cutter, x: fx.Node, zero: float) -> Tensor | None:
    """[k] float64: how far the constant of each removed channel is from ``zero``; 0 where nothing is removed."""
    mask, fact = cutter.masks(x).get(len(shape(x)) - 1), cutter.liveness.facts.get(cutter.original(x))
    if mask is None or fact is None:
        return None
    single, value = single_values(fact, len(shape(x)) - 1, extent((x, len(shape(x)) - 1)))
    return torch.where(~mask & single, value.double() - zero, 0.0)


register(l0.int8_linear.default, change=_int8)
register(l0.bfloat16_linear.default, change=_bfloat16)
