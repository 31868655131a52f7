"""Transfer functions of narrow numbers: quantising, and layers and convolutions of them.

What was exactly 0 is the zero point of integers, so a channel that is known to be that adds nothing to a sum.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from l0compile.analysis.liveness.channels import fact_of, known_channels
from l0compile.analysis.liveness.convolution import channels_of, known_rows
from l0compile.analysis.liveness.lattice import Fact, reduce_to
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.ops.bfloat16 import rounded
from l0compile.ir.ops.quantized import quantize, scaled

l0 = torch.ops.l0compile


def _quantize(node: fx.Node, view: View) -> Fact | None:
    """Known numbers become known integers."""
    source, inverse, zero_point = node.args
    fact, factor = view.fact(source), view.constant(inverse)
    if factor is None or not isinstance(zero_point, int) or not bool(fact.known.any()):
        return None
    return Fact(fact.known, quantize(fact.value.float(), factor, zero_point))


def _quantize_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    return {operand: everything(operand) for operand in node.all_input_nodes} | {operand_of(node): live}


def _linear(node: fx.Node, view: View) -> Fact | None:
    """A result is known if every unknown input meets a zero weight."""
    given = arguments(node)
    weight, bias = view.constant(given["weight"]), view.constant(given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return None
    known, value = (part.expand(weight.shape[1]) for part in view.fact(given["x"]).last_axis())
    if node.target is l0.int8_linear.default:
        scale, start = view.constant(given["scale"]), view.constant(given["start"])
        if scale is None or (given["start"] is not None and start is None):
            return None
        levels = torch.where(known, value.double() - given["zero_point"], 0.0)
        sums = weight.double() @ levels
        result = scaled(sums if start is None else sums + start, scale, bias)
    else:
        result = F.linear(rounded(torch.where(known, value.float(), 0.0)), weight.float(), bias)
    rows = ~(weight[:, ~known] != 0).any(1)
    leading = [1] * (len(shape(node)) - 1)
    return Fact(rows.reshape(*leading, -1), result.reshape(*leading, -1))


def _linear_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """An input is read if a live result has a nonzero weight for it."""
    weight, source = view.constant(arguments(node)["weight"]), operand_of(node)
    if weight is None:
        return {}
    rows = reduce_to(live, [1] * (live.ndim - 1) + [weight.shape[0]]).reshape(-1).expand(weight.shape[0])
    columns = (weight[rows] != 0).any(0).reshape([1] * (len(shape(source)) - 1) + [-1])
    return {operand: everything(operand) for operand in node.all_input_nodes} | {source: columns}


def _convolution(node: fx.Node, view: View) -> Fact | None:
    """A channel is known if every input that is not zero meets zero weights; it is the bias then."""
    given = arguments(node)
    weight, bias = view.constant(given["weight"]), view.constant(given["bias"])
    able = weight is not None and len(shape(node)) == 4 and given["groups"] == 1
    if weight is None or not able or (given["bias"] is not None and bias is None):
        return None
    known = zero_channels(view.fact(given["x"]), shape(given["x"])[1], given["zero_point"])
    value = weight.new_zeros(len(weight), dtype=torch.float32) if bias is None else bias
    return fact_of(known_rows(_met(weight), known), value.reshape(1, -1, 1, 1))


def _convolution_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    given = arguments(node)
    weight = view.constant(given["weight"])
    if weight is None or len(shape(node)) != 4 or given["groups"] != 1:
        return {}
    rows = channels_of(live, len(weight))
    columns = (_met(weight)[0] & rows.reshape(-1, 1)).any(0).reshape(1, -1, 1, 1)
    return {operand: everything(operand) for operand in node.all_input_nodes} | {given["x"]: columns}


def zero_channels(fact: Fact, size: int, zero_point: int) -> Tensor:
    """bool [size]: the channels of axis 1 of quantised images that stand for 0 everywhere."""
    whole, value = known_channels(fact, size)
    return whole & (value == zero_point).flatten(2).all(2)[0]


def _met(weight: Tensor) -> Tensor:
    """bool [1, out, in]: whether any tap of a weight is not zero."""
    return (weight.flatten(2) != 0).any(2)[None]


register(l0.quantize.default, forward=_quantize, backward=_quantize_reads)
register(l0.int8_linear.default, l0.bfloat16_linear.default, forward=_linear, backward=_linear_reads)
register(l0.int8_conv2d.default, forward=_convolution, backward=_convolution_reads)
