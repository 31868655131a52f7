"""Refits of operators that sum over channels: what the removed ones contributed is a constant, which stays."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.capture.nodes import arguments, shape
from l0compile.liveness.coupling.axes import single_values
from l0compile.liveness.coupling.contractions import carrier, meets_border
from l0compile.liveness.selection import reduced_axes
from l0compile.rewrite.refit import Cutter, register

aten, l0 = torch.ops.aten, torch.ops.l0compile


def _linear(cutter: Cutter, node: fx.Node) -> None:
    """bias += W[:, removed] @ constants (rule 3)."""
    given = arguments(node)
    weight = cutter.editor.value(given["weight"])
    removed = cutter.removed(given["input"], -1)
    if weight is not None and bool((removed != 0).any()):
        _add_to_bias(cutter, node, weight @ removed.to(weight.dtype), -1)


def _convolution(cutter: Cutter, node: fx.Node) -> None:
    """bias += sum over taps of W[:, removed] times the constants; with padding another channel carries them."""
    given = arguments(node)
    weight, groups = cutter.editor.value(given["weight"]), int(given["groups"])
    removed = cutter.removed(given["input"], 1)
    if weight is not None and bool((removed != 0).any()):
        if meets_border(given, node):
            return _carry(cutter, given, weight, removed)
        taps = weight.flatten(2).sum(2)  # [out, in of a group]
        per_group = removed.to(weight.dtype).reshape(groups, 1, -1)
        share = (taps.reshape(groups, -1, taps.shape[1]) * per_group).sum(2).reshape(-1)
        _add_to_bias(cutter, node, share, 1)
    kept = cutter.kept.size(given["weight"], 0)
    if groups > 1 and kept is not None:
        position = next(i for i, a in enumerate(node.target._schema.arguments) if a.name == "groups")
        _set(node, position, groups * kept // shape(given["weight"])[0])
    return None


def _carry(cutter: Cutter, given: dict[str, Any], weight: Tensor, removed: Tensor) -> None:
    """W[:, kept constant channel] += sum of W[:, removed] times (removed constant / kept constant) (rule 3)."""
    x = given["input"]
    fact = cutter.liveness.fact(cutter.original(x))
    single, value = single_values(fact, 1, shape(x)[1])
    stays = cutter.masks(x)[1] & single
    channel = carrier(stays, value)
    inputs = 0 if "transpose" in str(next(iter(given["weight"].users)).target) else 1
    factors = (
        (removed / value[channel])
        .to(weight.dtype)
        .reshape([-1 if a == inputs else 1 for a in range(weight.ndim)])
    )
    share = (weight * factors).sum(inputs)
    changed = weight.clone()
    changed.select(inputs, channel).add_(share)
    cutter.replace_constant(given["weight"], changed)


def _set(node: fx.Node, position: int, value: Any) -> None:
    schema = node.target._schema.arguments
    missing = [argument.default_value for argument in schema[len(node.args) : position + 1]]
    node.args = (*node.args, *missing)
    node.kwargs = {name: v for name, v in node.kwargs.items() if name != schema[position].name}
    node.update_arg(position, value)


def _add_to_bias(cutter: Cutter, node: fx.Node, share: Tensor, axis: int) -> None:
    given = arguments(node)
    stem = str(given["weight"].target)
    bias = cutter.editor.value(given["bias"])
    if given["bias"] is not None and bias is None:
        return _add_after(cutter, node, share, axis)
    name = f"{stem}_bias" if bias is None else str(given["bias"].target)
    total = share if bias is None else bias + share
    _set(node, 2, cutter.add_parameter(name, total, node, node, axis))
    return None


def _add_after(cutter: Cutter, node: fx.Node, share: Tensor, axis: int) -> None:
    """The bias is computed at run time: the constant is added to the result."""
    following = node.next
    constant = cutter.add_parameter(f"{node.name}_removed", share, following, node, axis)
    lead = [1] * (len(shape(node)) - 1 - axis % len(shape(node)))
    shaped = cutter.editor.call(aten.reshape.default, (constant, [-1, *lead]), before=following, origin=node)
    total = cutter.editor.call(aten.add.Tensor, (node, shaped), before=following, origin=node)
    cutter.replace(node, total, inside=total)


def _attention(cutter: Cutter, node: fx.Node) -> None:
    heads = int(arguments(node)["heads"])
    kept = cutter.kept.size(node, -1)
    if kept is not None:
        node.update_arg(4, heads * kept // shape(node)[-1])


def _rope(cutter: Cutter, node: fx.Node) -> None:
    heads = int(arguments(node)["heads"])
    kept = cutter.kept.size(node, -1)
    if kept is not None:
        node.update_arg(3, heads * kept // shape(node)[-1])


def _group_norm(cutter: Cutter, node: fx.Node) -> None:
    groups = int(arguments(node)["num_groups"])
    kept = cutter.kept.size(node, 1)
    if kept is not None:
        node.update_arg(1, groups * kept // shape(node)[1])


def _layer_norm(cutter: Cutter, node: fx.Node) -> None:
    """The removed channels still count in mean and variance (rule 4)."""
    given = arguments(node)
    x, width = given["input"], shape(node)[-1]
    mask = cutter.masks(x).get(len(shape(x)) - 1)
    if mask is None:
        return
    values = cutter.removed(x, -1)[~mask].double()
    statistics = (width, float(values.mean()), float((values - values.mean()).square().sum()))
    args = (x, given["weight"], given["bias"], given["eps"], *statistics)
    node.target, node.args, node.kwargs = l0.compacted_layer_norm.default, args, {}


def _compacted_layer_norm(cutter: Cutter, node: fx.Node) -> None:
    """Two sets of removed channels become one: count, mean and sum of squared deviations add up (Chan et al., 1983)."""
    given = arguments(node)
    x = given["x"]
    mask = cutter.masks(x).get(len(shape(x)) - 1)
    if mask is None:
        return
    values = cutter.removed(x, -1)[~mask].double()
    old, new = given["width"] - len(mask), len(values)
    shift = float(values.mean()) - given["removed_mean"]
    mean = given["removed_mean"] + shift * new / (old + new)
    m2 = (
        given["removed_m2"]
        + float((values - values.mean()).square().sum())
        + shift**2 * old * new / (old + new)
    )
    node.args = (x, given["weight"], given["bias"], given["eps"], given["width"], mean, m2)


def _rms_norm(cutter: Cutter, node: fx.Node) -> None:
    given = arguments(node)
    x, width = given["input"], shape(node)[-1]
    mask = cutter.masks(x).get(len(shape(x)) - 1)
    if mask is not None:
        squares = float(cutter.removed(x, -1)[~mask].double().square().sum())
        eps = torch.finfo(x.meta["val"].dtype).eps if given["eps"] is None else given["eps"]
        node.target, node.args = l0.compacted_rms_norm.default, (x, given["weight"], eps, width, squares)
        node.kwargs = {}


def _compacted_rms_norm(cutter: Cutter, node: fx.Node) -> None:
    given = arguments(node)
    x = given["x"]
    mask = cutter.masks(x).get(len(shape(x)) - 1)
    if mask is not None:
        squares = float(cutter.removed(x, -1)[~mask].double().square().sum())
        total = given["removed_square_sum"] + squares
        node.args = (x, given["weight"], given["eps"], given["width"], total)


def _mean(cutter: Cutter, node: fx.Node) -> None:
    """mean over n channels = sum of what is left / n + sum of the constants / n; sum likewise."""
    x, dims, _ = reduced_axes(node)
    axis = next((axis for axis in dims if cutter.masks(x).get(axis) is not None), None)
    if axis is None:
        return
    mask = cutter.masks(x)[axis]
    constant = float(cutter.removed(x, axis)[~mask].double().sum())
    steps: list[tuple[Any, float]] = [(aten.add.Tensor, constant)]
    if node.target is aten.mean.dim:
        steps = [(aten.mul.Tensor, int(mask.sum()) / len(mask)), (aten.add.Tensor, constant / len(mask))]
    value, following = node, node.next
    for operator, number in steps:
        value = cutter.editor.call(operator, (value, number), before=following, origin=node)
    cutter.replace(node, value, inside=node.next)


register(aten.linear.default, change=_linear)
register(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
    aten.conv_transpose1d.default, aten.conv_transpose2d.input, change=_convolution,
)  # fmt: skip
register(l0.attention.default, change=_attention)
register(torch.ops.l0compile.rope.default, change=_rope)
register(aten.group_norm.default, change=_group_norm)
register(aten.layer_norm.default, change=_layer_norm)
register(l0.compacted_layer_norm.default, change=_compacted_layer_norm)
register(aten.rms_norm.default, change=_rms_norm)
register(l0.compacted_rms_norm.default, change=_compacted_rms_norm)
register(aten.mean.dim, aten.sum.dim_IntList, change=_mean)
