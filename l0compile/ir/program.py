"""The intermediate representation: a torch.fx graph of ATen operators, its constants, and where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from l0compile.errors import InputError
from l0compile.ir.conditions import Condition
from l0compile.ir.records import PassRecord, Region
from l0compile.ir.state import State
from l0compile.ir.structure import Structure


@dataclass(frozen=True)
class Program:
    """A captured model. Passes map a program to a new program; the two share tensors.

    Attributes:
        graph: placeholders are the flat tensor inputs, in order; parameters, buffers and lifted constants are
            ``get_attr`` nodes whose target is a key of ``constants``; ``call_function`` targets are OpOverloads of
            ``aten``, ``l0compile`` or a library of the user, Python operators on sizes, or ``ControlFlow``; none has
            a side effect. The one output node holds a flat tuple. ``node.meta["val"]`` of a tensor node is a
            FakeTensor, whose sizes may be symbolic.
        constants: name -> plain detached tensor. Never changed in place.
        in_spec: pytree of ``(args, kwargs)``; its leaves are the placeholders. Arguments that are no tensors are part
            of it, see :mod:`l0compile.ir.structure`.
        out_spec: pytree of the model's result; its leaves are the output tuple, all tensors.
        symbols: size symbol -> (smallest, largest or None) size that a caller may pass.
        conditions: relations between sizes that must hold for the graph to compute what the model does.
        labels: size symbol -> the name the user gave that dimension, where one was given.
        history: the passes that ran, in order.
        regions: what was decided for each layer.
        stored: name of a weight that the model stores sparse -> its format; it is dense in ``constants``.
        state: buffers that the model changes. Their values are the last placeholders and the last results, in this
            order; ``in_spec`` and ``out_spec`` do not contain them.
    """

    graph: fx.Graph
    constants: Mapping[str, torch.Tensor]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec
    symbols: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    history: tuple[PassRecord, ...] = ()
    regions: tuple[Region, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    state: tuple[State, ...] = ()

    @property
    def placeholders(self) -> tuple[fx.Node, ...]:
        """The input nodes, in the order of the flat inputs; state last."""
        return tuple(node for node in self.graph.nodes if node.op == "placeholder")

    @property
    def inputs(self) -> tuple[fx.Node, ...]:
        """The input nodes for the values that a caller gives."""
        nodes = self.placeholders
        return nodes[: len(nodes) - len(self.state)]

    @property
    def results(self) -> tuple[Any, ...]:
        """The flat results that a caller gets, without the state."""
        flat: Any = self.output.args[0]
        return tuple(flat[: len(flat) - len(self.state)])

    @property
    def output(self) -> fx.Node:
        """The output node; its ``args[0]`` is the flat tuple of results."""
        return next(iter(reversed(self.graph.nodes)))

    def edit(self) -> tuple[fx.Graph, dict[str, torch.Tensor]]:
        """A copy of the graph and of the dict of constants that may be changed; tensors and meta values are shared."""
        return copy_graph(self.graph), dict(self.constants)

    def with_graph(self, graph: fx.Graph, constants: Mapping[str, torch.Tensor]) -> "Program":
        """The program with another graph, and with only the constants that its nodes name."""
        used = {node.target for node in graph.nodes if node.op == "get_attr"}
        kept = {name: tensor for name, tensor in constants.items() if name in used}
        return replace(self, graph=graph, constants=kept)

    def constant(self, node: Any) -> torch.Tensor | None:
        """The tensor behind a ``get_attr`` node, or None for anything else."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.constants.get(str(node.target))
        return None

    def module(self) -> fx.GraphModule:
        """A module that runs the graph in PyTorch, from flat inputs to a flat tuple: the oracle of every rewrite."""
        return fx.GraphModule(dict(self.constants), copy_graph(self.graph))

    def flatten(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> list[Any]:
        """The flat inputs of :meth:`module` for the arguments of a call, with the state as it was at capture.

        Raises:
            InputError: the structure differs from the one captured.
        """
        structure = Structure(self.in_spec)
        leaves = structure.flatten(args, kwargs or {})
        if leaves is None:
            given = pytree.tree_structure((tuple(args), dict(kwargs or {})))
            raise InputError(
                f"inputs: expected the structure {structure.plain}, got {given}; pass the arguments as at capture"
            )
        return leaves + [state.tensor for state in self.state]

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program in PyTorch, called like the model; slow, for checks and tests."""
        inputs = self.flatten(args, kwargs)
        with torch.no_grad():
            flat = self.module()(*inputs)
        return Structure(self.out_spec).unflatten(flat[: len(self.results)], self.sizes(inputs))

    def sizes(self, inputs: Sequence[torch.Tensor]) -> dict[str, int]:
        """The value of each size symbol that is a dimension of an input, for these flat inputs."""
        found: dict[str, int] = {}
        for node, tensor in zip(self.placeholders, inputs, strict=True):
            found |= {str(want): got for want, got in zip(node.meta["val"].shape, tensor.shape, strict=True)}
        return {symbol: size for symbol, size in found.items() if symbol in self.symbols}


def copy_graph(graph: fx.Graph) -> fx.Graph:
    """A new graph with the same nodes, names and shallow copies of their meta."""
    copy = fx.Graph()
    mapped: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        mapped[node] = copy.node_copy(node, lambda old: mapped[old])
    return copy
