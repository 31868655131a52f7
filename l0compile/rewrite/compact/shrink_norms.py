"""Shrink norms: the channels that are removed still count in their statistics (rule 4)."""

import torch
from torch import fx

from l0compile.ir.nodes import arguments, set_argument, shape
from l0compile.rewrite.compact.shrink import Cutter, register

aten, l0 = torch.ops.aten, torch.ops.l0compile


def _group_norm(cutter: Cutter, node: fx.Node) -> None:
    groups = int(arguments(node)["num_groups"])
    kept = cutter.kept.size(node, 1)
    if kept is not None:
        set_argument(node, "num_groups", groups * kept // shape(node)[1])


def _layer_norm(cutter: Cutter, node: fx.Node) -> None:
    """Let the removed channels count in mean and variance (rule 4)."""
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
    """Join two sets of removed channels by their count, mean and sum of squared deviations (Chan et al., 1983)."""
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


register(aten.group_norm.default, change=_group_norm)
register(aten.layer_norm.default, change=_layer_norm)
register(l0.compacted_layer_norm.default, change=_compacted_layer_norm)
register(aten.rms_norm.default, change=_rms_norm)
register(l0.compacted_rms_norm.default, change=_compacted_rms_norm)
