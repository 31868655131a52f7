"""Coupling of layers and convolutions of narrow numbers: as those of float32, with scales beside their rows."""

import torch
from torch import fx

from l0compile.analysis.coupling.axes import Coupling
from l0compile.analysis.coupling.elementwise import broadcast
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.narrow import zero_channels
from l0compile.ir.nodes import arguments, shape

l0 = torch.ops.l0compile


def linear(node: fx.Node, coupling: Coupling) -> None:
    """Rows of W [n, k] are channels of the result, columns are those of the input; constants go into sums or bias."""
    given = arguments(node)
    x, weight = given["x"], given["weight"]
    last = len(shape(x)) - 1
    for axis in range(last):
        coupling.same(node, (node, axis), (x, axis))
    coupling.same(node, (x, last), (weight, 1))
    for constant in (weight, given.get("scale"), given["bias"], given.get("start")):
        if constant is not None:
            coupling.same(node, (node, last), (constant, 0))
    single, _ = coupling.single((x, last))
    reason = f"their constants differ by position, and '{node.name}' adds one number for all"
    coupling.pin((x, last), reason, coupling.known((x, last)) & ~single)
    if coupling.program.constant(weight) is None:
        coupling.pin((x, last), f"the weight of '{node.name}' is computed when the model runs")


def convolution(node: fx.Node, coupling: Coupling) -> None:
    """Channels are axis 1; of the constants only those that stand for 0 go, since others meet the border."""
    given = arguments(node)
    x, weight = given["x"], given["weight"]
    if len(shape(node)) != 4 or given["groups"] != 1 or coupling.program.constant(weight) is None:
        for other in (node, *node.all_input_nodes):
            coupling.pin_all(
                other, "a convolution of integers in groups, or without a batch, keeps its channels"
            )
        return
    coupling.same(node, (node, 0), (x, 0))
    for axis in (2, 3):
        for other in (node, x, weight):
            coupling.pin((other, axis), "positions of a convolution")
    coupling.same(node, (x, 1), (weight, 1))
    for constant in (weight, given["scale"], given["bias"]):
        if constant is not None:
            coupling.same(node, (node, 1), (constant, 0))
    fact = coupling.liveness.facts.get(x)
    if fact is not None:
        zero = zero_channels(fact, shape(x)[1], given["zero_point"])
        reason = f"a constant other than 0 is a part of the sums of '{node.name}', which has integers for all positions"
        coupling.pin((x, 1), reason, coupling.known((x, 1)) & ~zero)


register(l0.quantize.default, rule=broadcast)
register(l0.int8_linear.default, l0.bfloat16_linear.default, rule=linear)
register(l0.int8_conv2d.default, rule=convolution)
