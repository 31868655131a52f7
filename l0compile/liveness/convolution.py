"""Convolutions, batch norm, and operators that work within each channel of axis 1."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.capture.nodes import arguments, shape
from l0compile.liveness.lattice import Fact, reduce_to
from l0compile.liveness.table import View, everything, register

aten = torch.ops.aten


def _taps(node: fx.Node, view: View) -> Tensor | None:
    """The constant weight as [out, in, taps], in the sense of an ungrouped convolution; None when not constant."""
    given = arguments(node)
    weight, groups = view.constant(given["weight"]), int(given["groups"])
    if weight is None or (given["bias"] is not None and view.constant(given["bias"]) is None):
        return None
    taps = weight.flatten(2)
    if "transpose" in str(node.target):  # [in, out of a group, taps]
        taps = taps.reshape(groups, -1, *taps.shape[1:]).transpose(1, 2).flatten(0, 1)
    if groups == 1:
        return taps
    out, per_group = taps.shape[0], taps.shape[1]
    whole = taps.new_zeros(groups, out // groups, groups, per_group, taps.shape[2])
    for group, part in enumerate(taps.reshape(groups, -1, *taps.shape[1:])):
        whole[group, :, group] = part
    return whole.reshape(out, groups * per_group, -1)


def _channels(fact: Fact) -> tuple[Tensor, Tensor]:
    """(bool, value) per channel of axis 1: known to be one number everywhere."""
    known, value = torch.broadcast_tensors(fact.known, fact.value)
    known, value = known.movedim(1, 0).flatten(1), value.movedim(1, 0).flatten(1)
    return known.all(1) & (value == value[:, :1]).all(1), value[:, 0]


def _convolution(node: fx.Node, view: View) -> Fact | None:
    """A channel is known if every unknown input meets zero weights. Zero padding lets only zeros through (rule 3)."""
    taps, given = _taps(node, view), arguments(node)
    if taps is None:
        return None
    bias = view.constant(given["bias"])
    known, value = _channels(view.fact(given["input"]))
    known, value = known.expand(taps.shape[1]), value.expand(taps.shape[1])
    if "transpose" in str(node.target) or _pads(given["padding"]):
        known = known & (value == 0)
    rows = ~(taps[:, ~known] != 0).flatten(1).any(1)
    share = torch.where(known, value, torch.zeros((), dtype=value.dtype)).to(taps.dtype)
    result = taps.sum(2) @ share if bool((share != 0).any()) else taps.new_zeros(taps.shape[0])
    result = result if bias is None else result + bias
    trailing = [1] * (len(shape(node)) - 2)
    return Fact(rows.reshape(1, -1, *trailing), result.reshape(1, -1, *trailing))


def _pads(padding: object) -> bool:
    if isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, (list, tuple)) else bool(padding)


def _convolution_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    taps, source = _taps(node, view), arguments(node)["input"]
    if taps is None:
        return {}
    rows = channels_of(live, taps.shape[0])
    columns = (taps[rows] != 0).any(2).any(0)
    reads = {operand: everything(operand) for operand in node.all_input_nodes}
    return reads | {source: columns.reshape(1, -1, *[1] * (len(shape(source)) - 2))}


def channels_of(live: Tensor, size: int) -> Tensor:
    """A live mask as bool [size] of axis 1."""
    return reduce_to(live, [1, live.shape[1], *[1] * (live.ndim - 2)]).reshape(-1).expand(size)


def _per_channel(parameter: Tensor | None, default: float, rank: int) -> Tensor:
    if parameter is None:
        return torch.tensor(default)
    return parameter.reshape(1, -1, *[1] * (rank - 2))


def _batch_norm(node: fx.Node, view: View) -> Fact | None:
    """Known inputs stay known; where the scale is zero the result is the shift."""
    given, rank = arguments(node), len(shape(node))
    names = ("weight", "bias", "running_mean", "running_var")
    values = [view.constant(given[name]) for name in names]
    missing = any(given[n] is not None and v is None for n, v in zip(names, values, strict=True))
    if given.get("training") or missing or values[2] is None or values[3] is None:
        return None
    defaults = (1.0, 0.0, 0.0, 1.0)
    scale, shift, mean, var = (_per_channel(v, d, rank) for v, d in zip(values, defaults, strict=True))
    fact = view.fact(given["input"])
    value = (fact.value - mean) / torch.sqrt(var + given["eps"]) * scale + shift
    fixed = (scale == 0).expand(1, shape(node)[1], *[1] * (rank - 2))
    return Fact(fact.known | fixed, torch.where(fixed, shift, value))


def _batch_norm_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    given = arguments(node)
    scale = view.constant(given["weight"])
    mask = live if scale is None else live & (scale != 0).reshape(1, -1, *[1] * (live.ndim - 2))
    return {operand: everything(operand) for operand in node.all_input_nodes} | {given["input"]: mask}


def _group_norm(node: fx.Node, view: View) -> Fact | None:
    """Where the scale is zero the result is the shift."""
    given, rank = arguments(node), len(shape(node))
    weight, bias = view.constant(given["weight"]), view.constant(given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return None
    return Fact(_per_channel(weight == 0, 0.0, rank), _per_channel(bias, 0.0, rank).to(weight.dtype))


def _group_norm_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """A group is read if any of its results is."""
    given = arguments(node)
    source, channels = given["input"], shape(node)[1]
    groups = channels_of(live, channels).reshape(int(given["num_groups"]), -1).any(1)
    mask = groups.repeat_interleave(channels // len(groups)).reshape(1, -1, *[1] * (live.ndim - 2))
    return {operand: everything(operand) for operand in node.all_input_nodes} | {source: mask}


def _pool(node: fx.Node, view: View) -> Fact | None:
    """A channel that is one number stays that number; an average with another divisor keeps only zeros."""
    single, value = _channels(view.fact(node.args[0]))
    if node.target is aten.avg_pool2d.default and _divides_otherwise(arguments(node)):
        single = single & (value == 0)
    trailing = [1] * (len(shape(node)) - 2)
    return Fact(single.reshape(1, -1, *trailing), value.reshape(1, -1, *trailing))


def _divides_otherwise(given: Mapping[str, Any]) -> bool:
    return any(given["padding"]) or bool(given["ceil_mode"]) or given["divisor_override"] is not None


def _pool_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    channels = channels_of(live, live.shape[1])
    return {source: channels.reshape(1, -1, *[1] * (len(shape(source)) - 2))}


register(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv1d.padding, aten.conv2d.padding,
    aten.conv_transpose1d.default, aten.conv_transpose2d.input, forward=_convolution, backward=_convolution_reads,
)  # fmt: skip
register(aten.group_norm.default, forward=_group_norm, backward=_group_norm_reads)
register(aten.batch_norm.default, forward=_batch_norm, backward=_batch_norm_reads)
register(
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten._adaptive_avg_pool2d.default, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default,
    aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default, forward=_pool, backward=_pool_reads,
)  # fmt: skip
