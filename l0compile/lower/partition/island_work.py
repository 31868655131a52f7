"""How much an island has to do, roughly: enough to know whether PyTorch should wake its threads for it."""

import math
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.nodes import example_size
from l0compile.ir.operator_facts import facts_of, operators
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

# Of one core, on the careful side: multiply-adds in matrix products, elements elsewhere.
_PRODUCTS_PER_MS, _ELEMENTS_PER_MS = 1e7, 3e5
# Waking a second pool of threads and putting it to sleep again costs about as much as two cores save on this.
_SMALL_MS = 1.0
_CONVOLUTIONS = (aten.convolution.default, l0.dense_convolution.default, *operators(window="convolution"))
_RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn")


def is_small(program: Program) -> bool:
    """Whether one core needs less than about a millisecond for the program at the sizes of the example."""
    return sum(map(_milliseconds, program.graph.nodes)) < _SMALL_MS


def _milliseconds(node: fx.Node) -> float:
    if node.op != "call_function":
        return 0.0
    results = sum(map(_elements, pytree.tree_leaves(node.meta.get("val"))))
    sources = [leaf for n in node.all_input_nodes for leaf in pytree.tree_leaves(n.meta.get("val"))]
    if isinstance(node.target, ControlFlow):
        return _SMALL_MS  # how often it runs what is not known
    name = getattr(node.target, "_schema", None) and node.target._schema.name
    if str(name).startswith(_RECURRENT):
        # The first is the sequence; every weight meets every element of time and batch.
        steps = _elements(sources[0]) / max(example_size(sources[0].shape[-1]), 1)
        return steps * sum(map(_elements, sources[1:])) / _PRODUCTS_PER_MS
    inner = _inner(node)
    if inner:
        return results * inner / _PRODUCTS_PER_MS
    return (results + sum(map(_elements, sources))) / _ELEMENTS_PER_MS


def _inner(node: fx.Node) -> float:
    """Multiply-adds for each element of the result of a matrix product or convolution; 0 for any other operator."""
    if facts_of(node).matrix_product:
        return example_size(_shape(node.args[0])[-1])
    if node.target in (aten.linear.default, aten.addmm.default, l0.dense_linear.default):
        return example_size(_shape(node.args[1])[-1])
    if node.target in _CONVOLUTIONS:
        return math.prod(map(example_size, _shape(node.args[1])[1:]))
    if node.target is aten.scaled_dot_product_attention.default:
        return 2 * example_size(_shape(node.args[1])[-2])
    return 0.0


def _shape(node: Any) -> Any:
    return node.meta["val"].shape or (1,)


def _elements(leaf: Any) -> float:
    return math.prod(map(example_size, leaf.shape)) if isinstance(leaf, torch.Tensor) else 0.0
