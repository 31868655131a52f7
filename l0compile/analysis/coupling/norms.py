"""Norms and other statistics over channels: a known constant can go, while the statistics still count it."""

import torch
from torch import fx

from l0compile.analysis.coupling.axes import Coupling, TensorAxis
from l0compile.analysis.coupling.contractions import by_group
from l0compile.analysis.coupling.table import register
from l0compile.analysis.liveness.selection import reduced_axes
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.operator_facts import operators

aten = torch.ops.aten


def account(axis: TensorAxis, coupling: Coupling) -> None:
    """Keep the channels of an axis that is summed over, except those that are one known number (rule 4)."""
    size = coupling.size(axis)
    if size is not None:
        single, _ = coupling.single(axis)
        coupling.pin(axis, "a norm or mean over them counts each one, and they are no constants", ~single)


def layer_norm(node: fx.Node, coupling: Coupling) -> None:
    """Over the last axis, channels of input, scale, shift and result are the same; over several axes all stay."""
    given = arguments(node)
    x, rank = given["input"], len(shape(node))
    for axis in range(rank - len(given["normalized_shape"])):
        coupling.same(node, (node, axis), (x, axis))
    parameters = [given[name] for name in ("weight", "bias") if given.get(name) is not None]
    if len(given["normalized_shape"]) > 1:
        for other in (node, x, *parameters):
            for axis in range(len(shape(other)) - len(given["normalized_shape"]), len(shape(other))):
                coupling.pin((other, axis), "a norm runs over several axes")
        return
    coupling.same(node, (node, rank - 1), (x, rank - 1))
    for parameter in parameters:
        coupling.same(node, (node, rank - 1), (parameter, 0))
    account((x, rank - 1), coupling)


def compacted_norm(node: fx.Node, coupling: Coupling) -> None:
    """``l0compile::compacted_layer_norm`` and ``compacted_rms_norm``, like a norm over the last axis."""
    given, last = arguments(node), len(shape(node)) - 1
    x = given["x"]
    for axis in range(last + 1):
        coupling.same(node, (node, axis), (x, axis))
    for name in ("weight", "bias"):
        if given.get(name) is not None:
            coupling.same(node, (node, last), (given[name], 0))
    account((x, last), coupling)


def batch_norm(node: fx.Node, coupling: Coupling) -> None:
    """Batch norm with fixed statistics: a scale and a shift for each channel of axis 1."""
    x = operand_of(node)
    for axis in range(len(shape(node))):
        coupling.same(node, (node, axis), (x, axis))
    for parameter in node.args[1:5]:
        if isinstance(parameter, fx.Node):
            coupling.same(node, (node, 1), (parameter, 0))


def group_norm(node: fx.Node, coupling: Coupling) -> None:
    """Group norm loses whole groups of axis 1: inside a group the statistics count each channel (rule 4)."""
    given = arguments(node)
    x, groups = given["input"], int(given["num_groups"])
    for axis in range(len(shape(node))):
        coupling.same(node, (node, axis), (x, axis))
    for name in ("weight", "bias"):
        if given[name] is not None:
            coupling.same(node, (node, 1), (given[name], 0))
    if coupling.size((x, 1)) is not None:
        coupling.link(node, [(x, 1), (node, 1)], by_group(groups))
    for axis in range(2, len(shape(node))):
        coupling.pin((x, axis), "positions that a norm counts")


def instance_norm(node: fx.Node, coupling: Coupling) -> None:
    """Instance norm: each channel of axis 1 has its own statistics over the positions."""
    given = arguments(node)
    x = given["input"]
    for axis in range(len(shape(node))):
        coupling.same(node, (node, axis), (x, axis))
        if axis > 1:
            coupling.pin((x, axis), "positions that a norm counts")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if given[name] is not None:
            coupling.same(node, (node, 1), (given[name], 0))


def reduction(node: fx.Node, coupling: Coupling) -> None:
    """sum, mean, amax and amin: the result counts removed constants; axes that are not reduced stay the same."""
    x, dims, keepdim = reduced_axes(node)
    position = 0
    for axis in range(len(shape(x))):
        if axis in dims:
            account((x, axis), coupling)
            position += keepdim
        else:
            coupling.same(node, (x, axis), (node, position))
            position += 1
    if len([axis for axis in dims if coupling.size((x, axis)) is not None]) > 1:
        for axis in dims:
            coupling.pin((x, axis), f"{node.target} '{node.name}' runs over several axes")


def whole_axis(node: fx.Node, coupling: Coupling) -> None:
    """argmax, softmax, cumsum and others like them: the axis that they run over stays whole."""
    x, dims, _ = reduced_axes(node)
    kept = len(shape(node)) == len(shape(x))
    position = 0
    for axis in range(len(shape(x))):
        if axis in dims:
            coupling.pin((x, axis), f"{node.target} runs over them")
            if kept:
                coupling.pin((node, axis), f"{node.target} runs over them")
            position += kept
        else:
            coupling.same(node, (x, axis), (node, position))
            position += 1


register(aten.layer_norm.default, aten.rms_norm.default, rule=layer_norm)
register(
    torch.ops.l0compile.compacted_layer_norm.default,
    torch.ops.l0compile.compacted_rms_norm.default,
    rule=compacted_norm,
)
register(aten.batch_norm.default, rule=batch_norm)
register(aten.group_norm.default, rule=group_norm)
register(aten.instance_norm.default, rule=instance_norm)
for _kind in ("sum", "mean", "max", "min"):
    register(*operators(reduces=_kind), rule=reduction)
register(*operators(reduces="other"), *operators(mixes=True), rule=whole_axis)
