"""Transfer functions of the norms of images: batch, group and instance norm."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.channels import by_channel, fact_of, is_flat, known_channels, spread
from l0compile.analysis.liveness.convolution import channels_of
from l0compile.analysis.liveness.lattice import Fact
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, is_static, shape

aten = torch.ops.aten


def _per_channel(parameter: Tensor | None, default: float, rank: int) -> Tensor:
    if parameter is None:
        return torch.tensor(default)
    return parameter.reshape(1, -1, *[1] * (rank - 2))


def _parameters(node: fx.Node, view: View, *names: str) -> list[Tensor | None] | None:
    """The constants behind some arguments, None for those not given; None if one of them is no constant."""
    given = arguments(node)
    values = [view.constant(given[name]) for name in names]
    missing = any(given[n] is not None and v is None for n, v in zip(names, values, strict=True))
    return None if missing else values


def _batch_norm(node: fx.Node, view: View) -> Fact | None:
    """Known inputs stay known; where the scale is zero the result is the shift."""
    given, rank = arguments(node), len(shape(node))
    values = _parameters(node, view, "weight", "bias", "running_mean", "running_var")
    if given.get("training") or values is None or values[2] is None or values[3] is None:
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
    """Where the scale is zero the result is the shift; a group is known if all its channels are (rule 4)."""
    given, rank = arguments(node), len(shape(node))
    parameters, groups = _parameters(node, view, "weight", "bias"), int(given["num_groups"])
    if parameters is None or rank < 3 or not is_static(shape(node)[1]):
        return None
    weight, bias = parameters
    known, value = known_channels(view.fact(given["input"]), shape(node)[1])
    known = known.reshape(groups, -1).all(1).repeat_interleave(len(known) // groups)
    planes = _at_enough_positions(value, shape(node)[2:])
    if planes is None:
        known, planes = torch.zeros_like(known), torch.zeros([1, len(known), *[2] * (rank - 2)])
    result = aten.group_norm.default(planes, groups, weight, bias, given["eps"], False)
    if weight is not None:
        known = known | (weight == 0)
    return fact_of(known, result)


def _at_enough_positions(value: Tensor, positions: tuple[object, ...]) -> Tensor | None:
    """Values at every position; at only two where all are alike, which gives the same statistics."""
    return value.expand(-1, -1, *[2] * (value.ndim - 2)) if is_flat(value) else spread(value, positions)


def _group_norm_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """A group is read if any of its results is."""
    given = arguments(node)
    source, channels = given["input"], shape(node)[1]
    if not is_static(channels):
        return {}
    groups = channels_of(live, channels).reshape(int(given["num_groups"]), -1).any(1)
    mask = groups.repeat_interleave(channels // len(groups)).reshape(1, -1, *[1] * (live.ndim - 2))
    return {operand: everything(operand) for operand in node.all_input_nodes} | {source: mask}


def _instance_norm(node: fx.Node, view: View) -> Fact | None:
    """A known channel stays known; of one number the result is the shift. It is the shift also where the scale is 0."""
    given, rank = arguments(node), len(shape(node))
    parameters = _parameters(node, view, "weight", "bias", "running_mean", "running_var")
    if parameters is None or rank < 3:
        return None
    known, value = known_channels(view.fact(given["input"]), shape(node)[1])
    planes = _at_enough_positions(value, shape(node)[2:])
    if planes is None:
        known, planes = torch.zeros_like(known), torch.zeros([1, len(known), *[2] * (rank - 2)])
    # Statistics that a training step would update are copies here.
    copies = [value if value is None else value.clone() for value in parameters]
    rest = (given["use_input_stats"], given["momentum"], given["eps"], False)
    result = aten.instance_norm.default(planes, *copies, *rest)
    scale = parameters[0]
    return fact_of(known if scale is None else known | (scale == 0), result)


def _instance_norm_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """A channel is read if any of its results is."""
    source = arguments(node)["input"]
    channels = by_channel(live).any(1).reshape(1, -1, *[1] * (live.ndim - 2))
    return {operand: everything(operand) for operand in node.all_input_nodes} | {source: channels}


register(aten.group_norm.default, forward=_group_norm, backward=_group_norm_reads)
register(aten.batch_norm.default, forward=_batch_norm, backward=_batch_norm_reads)
register(aten.instance_norm.default, forward=_instance_norm, backward=_instance_norm_reads)
