"""A graph of Dynamo as a module of its data alone: weights become attributes, numbers become constants."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from l0compile.compiler.dynamo.inputs import Inputs, module_path, number
from l0compile.ir.modules import hold


class Inference(nn.Module):
    """Runs a Dynamo graph on its data inputs; ``torch.export`` still sees the source lines and modules of its nodes."""

    def __init__(
        self,
        graph_module: fx.GraphModule,
        inputs: Inputs,
        results: Sequence[fx.Node],
        arguments: Sequence[Any],
    ) -> None:
        """Copy what the results need of the graph.

        Args:
            graph_module: as Dynamo made it.
            inputs: the roles of its inputs.
            results: nodes to return.
            arguments: of one call, for the weights and values in them.
        """
        super().__init__()
        for name, child in graph_module.named_children():
            self.add_module(name, child)
        for name, tensor in graph_module.named_parameters(recurse=False):
            self.register_parameter(name, tensor)
        for name, tensor in graph_module.named_buffers(recurse=False):
            self.register_buffer(name, tensor)
        for position, name in inputs.weights.items():
            hold(self, name, arguments[position])
        self.graph = _graph(graph_module.graph, inputs, results, arguments)
        self.eval()

    def forward(self, *data: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the results in order, for the data inputs in order."""
        with fx.traceback.preserve_node_meta(), _leaving_vmap():
            return tuple(fx.Interpreter(self, graph=self.graph).run(*data))


@contextmanager
def _leaving_vmap() -> Iterator[None]:
    """Leave each vmap that the block enters.

    In a graph of Dynamo two operators enter and leave it. One between them that fails, because tracing tries a size
    that does not fit, would leave all later operators in it.
    """
    before = torch._C._functorch.maybe_current_level() or 0
    try:
        yield
    finally:
        while (torch._C._functorch.maybe_current_level() or 0) > before:
            torch._C._functorch._vmap_decrement_nesting()


def _graph(graph: fx.Graph, inputs: Inputs, results: Sequence[fx.Node], arguments: Sequence[Any]) -> fx.Graph:
    copy = fx.Graph()
    made: dict[fx.Node, Any] = {}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for position in inputs.data:
        made[placeholders[position]] = copy.placeholder(placeholders[position].name)
    for position, name in inputs.weights.items():
        made[placeholders[position]] = copy.get_attr(name)
    for position, (source, axis) in inputs.sizes.items():
        made[placeholders[position]] = copy.call_function(
            torch.ops.aten.sym_size.int, (made[placeholders[source]], axis)
        )
    for position in inputs.values:
        made[placeholders[position]] = number(arguments[position])
    for node in graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if _reads_number(node, made):
            made[node] = made[node.args[0]]
            continue
        made[node] = copy.node_copy(node, lambda old: made[old])
        made[node].meta = _meta(node.meta)
    copy.output(tuple(made[node] for node in results))
    return copy


def _reads_number(node: fx.Node, made: Mapping[fx.Node, Any]) -> bool:
    """Return whether the node is ``number.item()``: Dynamo passes a Python float as a tensor."""
    return node.op == "call_method" and node.target == "item" and not isinstance(made[node.args[0]], fx.Node)


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    stack = meta.get("nn_module_stack") or {}
    named = {key: (module_path(path), kind) for key, (path, kind) in stack.items()}
    kept = {"nn_module_stack": named} if named else {}
    return kept | ({"stack_trace": meta["stack_trace"]} if meta.get("stack_trace") else {})
