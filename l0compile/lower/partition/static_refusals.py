"""Nodes that TVM cannot take, whatever is tried: known from the graph alone."""

from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from l0compile.ir.control_flow import ControlFlow
from l0compile.ir.program import Program


def static_refusals(program: Program) -> dict[str, str]:
    """Find nodes that TVM cannot take, such as sizes that depend on values or complex numbers: name -> reason."""
    found: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        values = [node.meta.get("val"), *(source.meta.get("val") for source in node.all_input_nodes)]
        leaves = [leaf for value in values for leaf in pytree.tree_leaves(value)]
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if isinstance(node.target, ControlFlow):
            found[node.name] = "it decides at run time which graph to run"
        elif any(_depends_on_values(leaf) for leaf in leaves):
            found[node.name] = "a size or number in it depends on values in a tensor"
        elif any(isinstance(size, int) and size == 0 for t in tensors for size in t.shape):
            found[node.name] = "it has an empty tensor"
        elif any(t.dtype.is_complex for t in tensors):
            found[node.name] = "it computes with complex numbers"
    return found


def _depends_on_values(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool) and bool(
        free_unbacked_symbols(leaf)
    )
