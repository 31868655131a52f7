"""How much an island has to do, roughly: enough to know whether PyTorch should wake its threads for it."""

import math
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.hardware.targets import Core
from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.nodes import example_size
from l0compile.ir.operator_facts import facts_of, operators
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

_CONVOLUTIONS = (aten.convolution.default, l0.dense_convolution.default, *operators(window="convolution"))
_RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn")


def is_small(program: Program, core: Core) -> bool:
    """Whether one core is through with the program, at the sizes of the example, before others would be awake."""
    return sum(_milliseconds(node, core) for node in program.graph.nodes) < core.waking_ms


def _milliseconds(node: fx.Node, core: Core) -> float:
    if node.op != "call_function":
        return 0.0
    results = sum(map(_elements, pytree.tree_leaves(node.meta.get("val"))))
    sources = [leaf for n in node.all_input_nodes for leaf in pytree.tree_leaves(n.meta.get("val"))]
    if isinstance(node.target, ControlFlow):
        return core.waking_ms  # how often it runs what is not known
    name = getattr(node.target, "_schema", None) and node.target._schema.name
    if str(name).startswith(_RECURRENT):
        # The first is the sequence; every weight meets every element of time and batch.
        steps = _elements(sources[0]) / max(example_size(sources[0].shape[-1]), 1)
        return steps * sum(map(_elements, sources[1:])) / core.products_per_ms
    inner = _inner(node)
    if inner:
        return results * inner / core.products_per_ms
    return (results + sum(map(_elements, sources))) / core.elements_per_ms


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
