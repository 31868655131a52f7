"""Shrink operators that sum over channels: the contribution of the removed ones is a constant, which stays."""

from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.coupling.axes import single_values
from l0compile.analysis.coupling.contractions import carrier
from l0compile.analysis.liveness.channels import is_flat, known_channels, without_repeats
from l0compile.analysis.liveness.convolution import CONVOLUTIONS, is_transposed, share
from l0compile.analysis.liveness.selection import reduced_axes
from l0compile.ir.nodes import arguments, set_argument, shape
from l0compile.rewrite.compact.shrink import Cutter, register

aten, l0 = torch.ops.aten, torch.ops.l0compile


def _linear(cutter: Cutter, node: fx.Node) -> None:
    """bias += W[:, removed] @ constants (rule 3)."""
    given = arguments(node)
    weight = cutter.editor.value(given["weight"])
    removed = cutter.removed(given["input"], -1)
    if weight is not None and bool((removed != 0).any()):
        add_to_bias(cutter, node, weight @ removed.to(weight.dtype), -1)


def _convolution(cutter: Cutter, node: fx.Node) -> None:
    """Fold the convolution of the removed constants into the bias (rule 3).

    Where a border makes it differ by position, it is added as a plane. Where the plane has no fixed size, another
    constant channel carries the removed ones.
    """
    given = arguments(node)
    weight, groups = cutter.editor.value(given["weight"]), int(given["groups"])
    removed = _removed_planes(cutter, given["input"])
    if weight is not None and removed is not None and bool((removed != 0).any()):
        found = share(node, weight, removed)
        if found is None:
            _carry(cutter, given, weight, removed.flatten(2)[0, :, 0])
        elif is_flat(found := without_repeats(found)):
            add_to_bias(cutter, node, found.reshape(-1), 1)
        else:
            _add_plane(cutter, node, found)
    kept = cutter.kept.size(given["weight"], 0)
    if groups > 1 and kept is not None:
        set_argument(node, "groups", groups * kept // shape(given["weight"])[0])


def _removed_planes(cutter: Cutter, x: fx.Node) -> Tensor | None:
    """[1, channels, *positions]: the values of each removed channel, 0 for the others; None where none was removed."""
    mask, fact = cutter.masks(x).get(1), cutter.liveness.facts.get(cutter.original(x))
    if mask is None or fact is None:
        return None
    _, value = known_channels(fact, shape(x)[1])
    return torch.where(
        mask.reshape(1, -1, *[1] * (value.ndim - 2)), torch.zeros((), dtype=value.dtype), value
    )


def _add_plane(cutter: Cutter, node: fx.Node, plane: Tensor) -> None:
    """result + plane [1, channels, *positions]; the convolution itself stays, since kernels know no such bias."""
    mask, following = cutter.masks(node).get(1), node.next
    kept = plane if mask is None else plane[:, mask]
    constant = cutter.editor.add_constant(f"{node.name}_border", kept, following)
    total = cutter.editor.call(aten.add.Tensor, (node, constant), before=following, origin=node)
    cutter.replace(node, total, inside=total)


def _carry(cutter: Cutter, given: dict[str, Any], weight: Tensor, removed: Tensor) -> None:
    """W[:, kept constant channel] += sum of W[:, removed] times (removed constant / kept constant) (rule 3)."""
    x = given["input"]
    fact = cutter.liveness.fact(cutter.original(x))
    single, value = single_values(fact, 1, shape(x)[1])
    stays = cutter.masks(x)[1] & single
    channel = carrier(stays, value)
    inputs = 0 if is_transposed(next(iter(given["weight"].users))) else 1
    factors = (
        (removed / value[channel])
        .to(weight.dtype)
        .reshape([-1 if a == inputs else 1 for a in range(weight.ndim)])
    )
    share = (weight * factors).sum(inputs)
    changed = weight.clone()
    changed.select(inputs, channel).add_(share)
    cutter.replace_constant(given["weight"], changed)


def add_to_bias(cutter: Cutter, node: fx.Node, share: Tensor, axis: int) -> None:
    given = arguments(node)
    stem = str(given["weight"].target)
    bias = cutter.editor.value(given["bias"])
    if given["bias"] is not None and bias is None:
        return _add_after(cutter, node, share, axis)
    name = f"{stem}_bias" if bias is None else str(given["bias"].target)
    total = share if bias is None else bias + share
    set_argument(node, "bias", cutter.add_parameter(name, total, node, node, axis))
    return None


def _add_after(cutter: Cutter, node: fx.Node, share: Tensor, axis: int) -> None:
    """Add the constant to the result, because the bias is computed at run time."""
    following = node.next
    constant = cutter.add_parameter(f"{node.name}_removed", share, following, node, axis)
    lead = [1] * (len(shape(node)) - 1 - axis % len(shape(node)))
    shaped = cutter.editor.call(aten.reshape.default, (constant, [-1, *lead]), before=following, origin=node)
    total = cutter.editor.call(aten.add.Tensor, (node, shaped), before=following, origin=node)
    cutter.replace(node, total, inside=total)


def _heads(cutter: Cutter, node: fx.Node) -> None:
    """Attention and rotary embedding lose whole heads."""
    heads = int(arguments(node)["heads"])
    kept = cutter.kept.size(node, -1)
    if kept is not None:
        set_argument(node, "heads", heads * kept // shape(node)[-1])


def _mean(cutter: Cutter, node: fx.Node) -> None:
    """mean over n channels = sum of the channels left / n + sum of the constants / n; a sum likewise."""
    x, dims, _ = reduced_axes(node)
    axis = next((axis for axis in dims if cutter.masks(x).get(axis) is not None), None)
    if axis is None:
        return
    mask = cutter.masks(x)[axis]
    if node.target in _BOUNDS:
        return _extreme(cutter, node, cutter.removed(x, axis)[~mask])
    constant = float(cutter.removed(x, axis)[~mask].double().sum())
    steps: list[tuple[Any, float]] = [(aten.add.Tensor, constant)]
    if node.target is aten.mean.dim:
        steps = [(aten.mul.Tensor, int(mask.sum()) / len(mask)), (aten.add.Tensor, constant / len(mask))]
    value, following = node, node.next
    for operator, number in steps:
        value = cutter.editor.call(operator, (value, number), before=following, origin=node)
    cutter.replace(node, value, inside=node.next)
    return None


_BOUNDS = {
    aten.amax.default: (torch.amax, aten.clamp_min.default),
    aten.amin.default: (torch.amin, aten.clamp_max.default),
}


def _extreme(cutter: Cutter, node: fx.Node, constants: Tensor) -> None:
    """The maximum of all channels is that of the channels left and of the constants."""
    reduce, bound = _BOUNDS[node.target]
    limit, following = float(reduce(constants, 0)), node.next
    value = cutter.editor.call(bound, (node, limit), before=following, origin=node)
    cutter.replace(node, value, inside=value)


register(aten.linear.default, change=_linear)
register(*CONVOLUTIONS, change=_convolution)
register(l0.attention.default, l0.block_attention.default, l0.rope.default, change=_heads)
register(aten.mean.dim, aten.sum.dim_IntList, *_BOUNDS, change=_mean)
