"""Copying the operators of an exported graph, and the graphs that control flow takes, to a program."""

import operator
from typing import Any

import torch
from torch import fx

from l0compile.errors import CaptureError
from l0compile.frontend.flex.call import is_flex_attention, read_call
from l0compile.frontend.flex.lower import lower_flex_attention
from l0compile.frontend.flex.writer import GraphWriter
from l0compile.frontend.functional import plain_copy
from l0compile.frontend.operators import is_check, refuse_random, where
from l0compile.ir.control_flow import flat_spec, is_control_flow, read_control_flow
from l0compile.ir.nodes import operand_of
from l0compile.ir.program import Program


def is_graph(node: fx.Node, module: torch.nn.Module) -> bool:
    """Return whether a node of the graph of ``module`` names another graph."""
    return node.op == "get_attr" and isinstance(_attribute(module, node), fx.GraphModule)


class NodeCopier:
    """Copies the operators of the graph of a module.

    Attributes:
        writer: adds what flex_attention becomes; None in the graphs of control flow, which hold no constants.
    """

    def __init__(self, module: torch.nn.Module, writer: GraphWriter | None = None) -> None:
        self._module = module
        self.writer = writer
        nodes = module.graph.nodes if isinstance(module, fx.GraphModule) else ()
        self._has_flex_attention = any(is_flex_attention(node) for node in nodes)

    def copy(self, graph: fx.Graph, node: fx.Node, mapped: dict[fx.Node, Any]) -> Any:
        """Copy ``node`` to the end of ``graph``.

        Args:
            graph: Where to copy.
            node: The node to copy.
            mapped: Each input of ``node`` -> its copy in ``graph``.

        Returns:
            The copy; for flex_attention a tuple of nodes, of which the nodes that follow it take one each.

        Raises:
            CaptureError: The operator draws random numbers, or is unknown and takes graphs; or a call of
                flex_attention has two meanings.
        """
        if is_flex_attention(node) and self.writer is not None:
            call = read_call(node, self._module, mapped, self.writer.constant)
            return lower_flex_attention(call, self.writer)
        if node.target is operator.getitem and isinstance(mapped[operand_of(node)], tuple):
            return mapped[operand_of(node)][node.args[1]] if node.users else None
        if is_control_flow(node):
            return self._control_flow(graph, node, mapped)
        if node.op not in ("placeholder", "call_function"):
            raise CaptureError(
                f"capture: {where(node)}: expected ATen operators only, got {node.op} {node.target}"
            )
        refuse_random(node)
        copy = plain_copy(graph, node, mapped)
        if copy.target is torch.ops.aten.view.default and self._has_flex_attention:
            # The result of flex_attention lies in memory as its queries do, which what becomes of it need not.
            copy.target = torch.ops.aten.reshape.default
        return copy

    def _control_flow(self, graph: fx.Graph, node: fx.Node, mapped: dict[fx.Node, Any]) -> fx.Node:
        found = read_control_flow(node, self._body)
        if found is None:
            raise CaptureError(
                f"capture: {where(node)}: expected ATen operators, cond, while_loop, map or scan, got {node.target}. "
                "What to do: take it out of forward(), or compile the part of the model without it"
            )
        flow, operands = found
        copy = graph.call_function(flow, fx.map_arg(operands, lambda operand: mapped[operand]))
        copy.meta.update(node.meta)
        return copy

    def _body(self, node: fx.Node) -> Program:
        """Turn the graph that ``node`` names into a program; it receives tensors of the model as arguments."""
        module: Any = _attribute(self._module, node)
        inner, graph, mapped = NodeCopier(module), fx.Graph(), dict[fx.Node, Any]()
        for own in module.graph.nodes:
            if own.op == "output":
                results = own.args[0] if isinstance(own.args[0], tuple | list) else (own.args[0],)
                if not all(isinstance(result, fx.Node) for result in results):
                    raise CaptureError(
                        f"capture: {where(node)}: expected tensors as results of {node.target}, got {results}"
                    )
                graph.output(tuple(mapped[result] for result in results))
            elif not is_check(own) and not is_graph(own, module):
                mapped[own] = inner.copy(graph, own, mapped)
        inputs = len(graph.find_nodes(op="placeholder"))
        return Program(graph, {}, flat_spec(inputs, call=True), flat_spec(len(results)))


def _attribute(module: Any, node: fx.Node) -> Any:
    for part in str(node.target).split("."):
        module = getattr(module, part, None)
    return module
