"""Transfer functions of operators on features: linear, block-sparse linear, LayerNorm, RMSNorm, embedding."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness.lattice import Fact, reduce_to
from l0compile.analysis.liveness.table import View, everything, register
from l0compile.analysis.liveness.zeros import used
from l0compile.ir.nodes import arguments, operand_of, shape
from l0compile.ir.ops.bsr import from_blocks

aten = torch.ops.aten


def weight_and_bias(node: fx.Node, view: View) -> tuple[Tensor | None, Tensor | None]:
    """The weight [n, k] and the bias of a linear or block-sparse linear; (None, None) when one is not constant."""
    given = arguments(node)
    bias = view.constant(given["bias"])
    if given["bias"] is not None and bias is None:
        return None, None
    if node.target is aten.linear.default:
        return view.constant(given["weight"]), bias
    data, indices, indptr = (view.constant(given[name]) for name in ("data", "indices", "indptr"))
    if data is None or indices is None or indptr is None:
        return None, None
    return from_blocks(data, indices, indptr, given["n"], given["k"]), bias


def _linear(node: fx.Node, view: View) -> Fact | None:
    """A result is known if every unknown input meets a zero weight; it is the bias plus the share of the known ones."""
    weight, bias = weight_and_bias(node, view)
    if weight is None or weight.ndim != 2:
        return None
    known, value = view.fact(node.args[0]).last_axis()
    known, value = known.expand(weight.shape[1]), value.expand(weight.shape[1])
    rows = ~((weight[:, ~known] != 0).any(1) if bool(known.any()) else used(weight)[0])
    share = torch.where(known, value, torch.zeros((), dtype=value.dtype)).to(weight.dtype)
    result = torch.mv(weight, share) if bool((share != 0).any()) else weight.new_zeros(weight.shape[0])
    result = result if bias is None else result + bias
    leading = [1] * (len(shape(node)) - 1)
    return Fact(rows.reshape(*leading, -1), result.reshape(*leading, -1))


def _linear_reads(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    """An input is read if a live result has a nonzero weight for it."""
    weight, _ = weight_and_bias(node, view)
    source = operand_of(node)
    if weight is None or weight.ndim != 2:
        return {}
    rows = reduce_to(live, [1] * (live.ndim - 1) + [weight.shape[0]]).reshape(-1).expand(weight.shape[0])
    columns = used(weight)[1] if bool(rows.all()) else (weight[rows] != 0).any(0)
    reads = {operand: everything(operand) for operand in node.all_input_nodes}
    return reads | {source: columns.reshape([1] * (len(shape(source)) - 1) + [-1])}


def _layer_norm(node: fx.Node, view: View) -> Fact | None:
    """Where the scale is zero the result is the bias. The others depend on every input (rule 4)."""
    given = arguments(node)
    weight, bias = view.constant(given["weight"]), view.constant(given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return None
    value = torch.zeros_like(weight) if bias is None else bias
    leading = [1] * (len(shape(node)) - weight.ndim)
    return Fact((weight == 0).reshape(*leading, *weight.shape), value.reshape(*leading, *weight.shape))


def _rms_norm(node: fx.Node, view: View) -> Fact | None:
    """The result is zero where the scale or the input is. The others depend on every input (rule 4)."""
    given = arguments(node)
    source = given.get("input", given.get("x"))
    zero = view.fact(source).zero
    if given["weight"] is not None:
        weight = view.constant(given["weight"])
        zero = zero if weight is None else zero | (weight == 0)
    return Fact(zero, torch.zeros([1] * zero.ndim))


def _embedding(node: fx.Node, view: View) -> Fact | None:
    """A feature is known if its column of the table holds one value."""
    table = view.constant(node.args[0])
    if table is None or not len(table):
        return None
    known = (table.amin(0) == table.amax(0)).reshape([1] * (len(shape(node)) - 1) + [-1])
    return Fact(known, table[0].reshape(known.shape))


def _all(node: fx.Node, live: Tensor, view: View) -> Mapping[fx.Node, Tensor]:
    return {operand: everything(operand) for operand in node.all_input_nodes if operand in view.facts}


register(aten.linear.default, torch.ops.l0compile.bsr_linear.default, forward=_linear, backward=_linear_reads)
register(aten.layer_norm.default, forward=_layer_norm, backward=_all)
register(torch.ops.l0compile.compacted_layer_norm.default, forward=_layer_norm, backward=_all)
register(aten.rms_norm.default, forward=_rms_norm, backward=_all)
register(torch.ops.l0compile.compacted_rms_norm.default, forward=_rms_norm, backward=_all)
register(aten.embedding.default, forward=_embedding, backward=_all)
