"""Forward and backward dataflow over a program; without cycles, one sweep each way reaches the fixpoint."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.analysis.liveness import attention as _attention  # noqa: F401  (each fills its part of the table)
from l0compile.analysis.liveness import convolution as _convolution  # noqa: F401
from l0compile.analysis.liveness import creation as _creation  # noqa: F401
from l0compile.analysis.liveness import linear as _linear  # noqa: F401
from l0compile.analysis.liveness import narrow as _narrow  # noqa: F401
from l0compile.analysis.liveness import norms as _norms  # noqa: F401
from l0compile.analysis.liveness import pointwise as _pointwise  # noqa: F401
from l0compile.analysis.liveness import products as _products  # noqa: F401
from l0compile.analysis.liveness import selection as _selection  # noqa: F401
from l0compile.analysis.liveness import views as _views  # noqa: F401
from l0compile.analysis.liveness import windows as _windows  # noqa: F401
from l0compile.analysis.liveness.lattice import Fact, constant, fit, reduce_to, unknown
from l0compile.analysis.liveness.table import View, everything, lookup
from l0compile.ir.nodes import is_float, is_op, shape, tensor
from l0compile.ir.program import Program

_INTEGERS = (torch.ops.l0compile.int8_linear.default, torch.ops.l0compile.int8_conv2d.default)


@dataclass(frozen=True)
class Liveness:
    """The result of :func:`analyse`, by node of the analysed graph.

    Attributes:
        facts: what is known of each floating-point tensor, and of what is quantised of them.
        masks: which elements are live, that is not known, and read on a way to an output. Shaped like ``Fact.known``.
        unknown_ops: operators without a transfer function whose results are floating-point tensors, once each.
    """

    facts: dict[fx.Node, Fact]
    masks: dict[fx.Node, Tensor]
    unknown_ops: tuple[str, ...]

    def fact(self, node: fx.Node) -> Fact:
        """What is known of a tensor."""
        return self.facts[node]

    def live(self, node: fx.Node) -> Tensor:
        """The live elements of a tensor; size 1 on axes along which they are all alike."""
        return self.masks[node]

    def live_channels(self, node: fx.Node) -> Tensor:
        """bool [size of the last axis]: the features with a live element."""
        mask = self.masks[node]
        return reduce_to(mask, [1] * (mask.ndim - 1) + [mask.shape[-1]]).reshape(-1).expand(shape(node)[-1])


def analyse(program: Program) -> Liveness:
    """Find the known and the live elements of every floating-point tensor of ``program``.

    Knowledge comes from zeros and constants in weights. It is exact, apart from NaN and infinity times zero (rule 10).
    Of the result of an operator that is not in the table nothing is known, and its operands are wholly live.
    """
    facts: dict[fx.Node, Fact] = {}
    view = View(program, facts)
    missing: dict[str, None] = {}
    for node in program.graph.nodes:
        if _followed(node):
            facts[node] = _forward(node, view)
            if node.op == "call_function" and lookup(node) is None:
                missing[str(node.target)] = None
    return Liveness(facts, _backward(program, view), tuple(missing))


def _followed(node: fx.Node) -> bool:
    """Whether facts are kept of a node: floating-point tensors, what is quantised of them, and weights of integers."""
    if node.op == "get_attr" and node.users:
        return is_float(node) or all(is_op(user, *_INTEGERS) for user in node.users)
    return is_float(node) or is_op(node, torch.ops.l0compile.quantize.default)


def _forward(node: fx.Node, view: View) -> Fact:
    value = view.constant(node)
    if value is not None:
        return constant(value)
    transfer = lookup(node)
    fact = transfer.forward(node, view) if transfer else None
    rank = len(shape(node))
    if fact is None:
        return unknown(rank, node.meta["val"].dtype)
    known, values = fit(fact.known, shape(node)), fit(fact.value, shape(node))
    if known is None or values is None:
        return unknown(rank, node.meta["val"].dtype)
    return Fact(known, values)


def _backward(program: Program, view: View) -> dict[fx.Node, Tensor]:
    masks: dict[fx.Node, Tensor] = {}
    for node in reversed(program.graph.nodes):
        if node.op == "output":
            for result in node.all_input_nodes:
                _join(masks, result, everything(result) if tensor(result) is not None else None)
            continue
        if tensor(node) is None:
            _read_whole(node, masks)
            continue
        masks.setdefault(node, torch.zeros([1] * len(shape(node)), dtype=torch.bool))
        if node in view.facts:
            masks[node] = masks[node] & ~view.facts[node].known
        if node.op == "call_function":
            _spread(node, masks, view)
    return masks


def _spread(node: fx.Node, masks: dict[fx.Node, Tensor], view: View) -> None:
    """Mark the elements of a node's operands that its live elements depend on."""
    transfer = lookup(node)
    alive = bool(masks[node].any())
    reads: Any = transfer.backward(node, masks[node], view) if transfer and _followed(node) and alive else {}
    for operand in node.all_input_nodes:
        if tensor(operand) is None:
            continue
        mask = reads.get(operand)
        if mask is not None:
            _join(masks, operand, reduce_to(mask, shape(operand)))
        elif alive or not _followed(node):
            _join(masks, operand, everything(operand))


def _read_whole(node: fx.Node, masks: dict[fx.Node, Tensor]) -> None:
    """Mark all operands of an operator whose result is no tensor; reading a size reads no element."""
    if node.op == "call_function" and node.target is not torch.ops.aten.sym_size.int:
        for operand in node.all_input_nodes:
            _join(masks, operand, everything(operand) if tensor(operand) is not None else None)


def _join(masks: dict[fx.Node, Tensor], node: fx.Node, mask: Tensor | None) -> None:
    if mask is not None:
        masks[node] = masks[node] | mask if node in masks else mask
