"""Write sizes as Python code does, for tracers older than torch.export."""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

_METHODS = {
    torch.ops.aten.view.default: "view",
    torch.ops.aten._unsafe_view.default: "reshape",
    torch.ops.aten.reshape.default: "reshape",
    torch.ops.aten.expand.default: "expand",
    torch.ops.aten.repeat.default: "repeat",
    torch.ops.aten.select.int: "select",
    torch.ops.aten.new_zeros.default: "new_zeros",
    torch.ops.aten.new_ones.default: "new_ones",
    torch.ops.aten.new_full.default: "new_full",
}
_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.full.default: torch.full,
    torch.ops.aten.zeros.default: torch.zeros,
    torch.ops.aten.ones.default: torch.ones,
    torch.ops.aten.empty.memory_format: torch.empty,
    torch.ops.aten.arange.default: torch.arange,
    torch.ops.aten.arange.start: torch.arange,
    torch.ops.aten.arange.start_step: torch.arange,
}
_WHOLE = slice(None)


def python_calls(graph: fx.Graph) -> fx.Graph:
    """Call methods and functions of torch where an ATen operator takes or gives a size, in place.

    ``torch.jit.trace``, and with it ``torch.onnx.export(dynamo=False)``, follows a size through ``x.size(0)`` and
    ``x.view(n, 8)``; given to ``torch.ops.aten`` it becomes the number that the example has.
    """
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        with graph.inserting_before(node):
            new = _python_call(graph, node)
        if new is not None:
            new.meta.update(node.meta)
            node.replace_all_uses_with(new)
            graph.erase_node(node)
    return graph


def _python_call(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    if node.target is torch.ops.aten.sym_size.int:
        return graph.call_method("size", node.args)
    if not any(_is_size(source) for source in node.all_input_nodes):
        return None
    if node.target in _METHODS:
        return graph.call_method(_METHODS[node.target], node.args, node.kwargs)
    if node.target in _FUNCTIONS:
        return graph.call_function(_FUNCTIONS[node.target], node.args, node.kwargs)
    if node.target is torch.ops.aten.slice.Tensor:
        given = [*node.args, *(0, None, None, 1)[len(node.args) - 1 :]]
        x, dim, bounds = given[0], given[1], given[2:]
        if isinstance(dim, int) and dim >= 0:
            return graph.call_function(operator.getitem, (x, (*[_WHOLE] * dim, slice(*bounds))))
    return None


def _is_size(node: fx.Node) -> bool:
    return not isinstance(node.meta.get("val"), torch.Tensor | list | tuple) and node.op != "get_attr"
