"""Transfer functions of convolutions of any rank, also grouped and transposed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.channels import can_hold, fact_of, is_flat, known_channels
from l0compile.analysis.liveness.lattice import Fact, reduce_to
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.ir.nodes import arguments, per_axis, shape
from l0compile.ir.operator_facts import facts_of, operators

CONVOLUTIONS = (*operators(window="convolution"), *operators(window="transposed convolution"))


def is_transposed(node: fx.Node) -> bool:
    """Whether a convolution node is a transposed one: its weight is [in, out of a group, ...]."""
    return facts_of(node).window == "transposed convolution"


def meets_border(given: Mapping[str, Any], node: fx.Node) -> bool:
    """Whether some results of a convolution see fewer inputs than others, because it is padded or transposed."""
    padding = given["padding"]
    if is_transposed(node) or isinstance(padding, str):
        return padding != "valid"
    return any(padding) if isinstance(padding, (list, tuple)) else bool(padding)


def _has_batch(node: fx.Node) -> bool:
    return len(shape(node)) == len(shape(arguments(node)["weight"]))


def _weight(node: fx.Node, view: View) -> Tensor | None:
    """The weight, if it and the bias are constants and channels are axis 1, else None."""
    given = arguments(node)
    weight = view.constant(given["weight"])
    no_bias = given["bias"] is not None and view.constant(given["bias"]) is None
    return None if weight is None or no_bias or not _has_batch(node) else weight


def reads(weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """bool [groups, out of a group, in of a group]: whether any tap of a weight is not zero."""
    nonzero = (weight.flatten(2) != 0).any(2)
    if transposed:  # [groups * in, out]
        return nonzero.reshape(groups, -1, nonzero.shape[1]).transpose(1, 2)
    return nonzero.reshape(groups, -1, nonzero.shape[1])


def holds_planes(node: fx.Node) -> bool:
    """Whether constants that differ by position can be stored for the input and the result of a convolution."""
    return can_hold(shape(arguments(node)["input"])[1:]) and can_hold(shape(node)[1:])


def share(node: fx.Node, weight: Tensor, value: Tensor) -> Tensor | None:
    """The share [1, out, *positions] of values [1, in, *positions] in the result of a convolution.

    None where it depends on symbolic sizes, or is too large to store.
    """
    given = arguments(node)
    outputs = weight.shape[1] * int(given["groups"]) if is_transposed(node) else weight.shape[0]
    if not bool((value != 0).any()):
        return weight.new_zeros(1, outputs, *[1] * (weight.ndim - 2))
    if int(given["groups"]) == 1:
        chosen = (value != 0).flatten(2).any(2)[0].nonzero().reshape(-1)
        value, weight = value[:, chosen], weight.index_select(0 if is_transposed(node) else 1, chosen)
    args = [value.to(weight.dtype), weight, None, *list(given.values())[3:]]
    if is_flat(value) and not meets_border(given, node):
        # Where all positions are alike and none is at a border, one is enough.
        stride = next(i for i, name in enumerate(given) if name == "stride")
        args[stride] = [1] * (weight.ndim - 2)
        extents = [
            d * (k - 1) + 1
            for d, k in zip(per_axis(given["dilation"], weight.ndim - 2), weight.shape[2:], strict=True)
        ]
        args[0] = args[0].expand(1, -1, *extents)
        return node.target(*args)
    if not holds_planes(node):
        return None
    args[0] = args[0].expand(1, -1, *shape(given["input"])[2:])
    return node.target(*args)


def _convolution(node: fx.Node, view: View) -> Fact | None:
    """A channel is known if every unknown input meets zero weights; it is the convolution of the known ones (rule 3).

    Where sizes are symbolic, a convolution with a border treats a constant other than zero as unknown.
    """
    weight, given = _weight(node, view), arguments(node)
    if weight is None:
        return None
    known, value = known_channels(view.fact(given["input"]), shape(given["input"])[1])
    groups = int(given["groups"])
    met = reads(weight, groups, is_transposed(node))
    result = share(node, weight, value) if bool(known_rows(met, known).any()) else None
    if result is None:
        known = known & (value == 0).flatten(2).all(2)[0]
        result = share(node, weight, torch.zeros_like(value))
        assert result is not None
    bias = view.constant(given["bias"])
    result = result if bias is None else result + bias.reshape(1, -1, *[1] * (result.ndim - 2))
    return fact_of(known_rows(met, known), result)


def known_rows(met: Tensor, known: Tensor) -> Tensor:
    """bool [out]: the results that read no unknown input."""
    groups = met.shape[0]
    return ~(met & ~known.reshape(groups, 1, -1)).any(2).reshape(-1)


def _convolution_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    weight, given = _weight(node, view), arguments(node)
    if weight is None:
        return {}
    met = reads(weight, int(given["groups"]), is_transposed(node))
    rows = channels_of(live, met.shape[0] * met.shape[1])
    columns = (met & rows.reshape(met.shape[0], -1, 1)).any(1).reshape(1, -1, *[1] * (live.ndim - 2))
    return {operand: everything(operand) for operand in node.all_input_nodes} | {given["input"]: columns}


def channels_of(live: Tensor, size: int) -> Tensor:
    """A live mask as bool [size] of axis 1."""
    return reduce_to(live, [1, live.shape[1], *[1] * (live.ndim - 2)]).reshape(-1).expand(size)


register(*CONVOLUTIONS, forward=_convolution, backward=_convolution_reads)
