"""The copy of a program that a pass edits before it returns a new program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor

from l0compile.ir.nodes import is_op, is_static, same_size, tensor
from l0compile.ir.program import Program
from l0compile.ir.tensors import resolved


@dataclass
class Editor:
    """A private copy of the graph and the constants of a program, with the operations that passes share.

    A constant is never changed in place: a new value gets a new name, and its readers a new ``get_attr`` node. Tied
    weights therefore need no special case (rule 8).
    """

    program: Program
    graph: fx.Graph = field(init=False)
    constants: dict[str, torch.Tensor] = field(init=False)
    changed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.graph, self.constants = self.program.edit()

    def current(self) -> Program:
        """The edited state as a program, so that analyses give facts about the nodes of ``graph``."""
        return self.program.with_graph(self.graph, self.constants)

    def value(self, node: Any) -> torch.Tensor | None:
        """The tensor behind a ``get_attr`` node of the edited graph, else None."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.constants.get(str(node.target))
        return None

    def add_constant(self, name: str, tensor: torch.Tensor, before: fx.Node) -> fx.Node:
        """Add a constant, with a unique name made from ``name``, and its ``get_attr`` node before ``before``."""
        key = unused_name(name, self.constants)
        self.constants[key] = resolved(tensor.detach()).contiguous()
        with self.graph.inserting_before(before):
            node = self.graph.create_node("get_attr", key)
        node.meta["val"] = _fake_like(before, self.constants[key])
        return node

    def call(
        self,
        target: Any,
        args: tuple[Any, ...],
        before: fx.Node,
        origin: fx.Node | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> fx.Node:
        """Add an operator node before ``before``; its stack trace and module path are those of ``origin``."""
        with self.graph.inserting_before(before):
            node = self.graph.call_function(target, args, dict(kwargs or {}))
        source = origin if origin is not None else before
        for key in ("nn_module_stack", "stack_trace", "region", "origin"):
            if key in source.meta:
                node.meta[key] = source.meta[key]
        return node

    def sizes(self, shape: Sequence[Any]) -> list[Any] | None:
        """A shape as operator arguments: numbers, and nodes that read symbols from the inputs.

        None when a size is not itself an input dimension, but a product of some, for instance.
        """
        result = [self._size(size) for size in shape]
        return None if any(size is None for size in result) else result

    def _size(self, size: Any) -> int | fx.Node | None:
        if is_static(size):
            return int(size)
        for node in self.graph.nodes:
            value = tensor(node) if node.op == "placeholder" else None
            for dim, own in enumerate(value.shape if value is not None else ()):
                if same_size(own, size):
                    return self._input_size(node, dim, size)
        return None

    def _input_size(self, source: fx.Node, dim: int, size: Any) -> fx.Node:
        operator = torch.ops.aten.sym_size.int
        known = [user for user in source.users if is_op(user, operator) and user.args[1] == dim]
        first = next(node for node in self.graph.nodes if node.op != "placeholder")
        if known:
            node = min(known)
            if node is not first:
                first.prepend(node)  # the new reader may come before the node that read the size first
            return node
        node = self.call(operator, (source, dim), before=first, origin=source)
        node.meta["val"] = size
        return node

    def replace(self, node: fx.Node, replacement: fx.Node) -> None:
        """Let every reader of ``node`` read ``replacement`` instead; this counts as one change."""
        if "val" in node.meta:
            replacement.meta.setdefault("val", node.meta["val"])
        node.replace_all_uses_with(replacement)
        if not node.users:
            self.graph.erase_node(node)
        self.changed += 1

    def finish(self) -> Program:
        """The new program, without unused nodes and constants; the given program itself when nothing changed."""
        if not self.changed:
            return self.program
        remove_dead_nodes(self.graph)
        return self.program.with_graph(self.graph, self.constants)


def unused_name(name: str, constants: Mapping[str, torch.Tensor]) -> str:
    """A name for a new constant: ``name``, with a number behind it if that is in use."""
    # fx stores constants as nested attributes, so a name may neither exist nor be a prefix of one that does.
    key, number = name, 0
    while any(
        key == other or other.startswith(key + ".") or key.startswith(other + ".") for other in constants
    ):
        number += 1
        key = f"{name}_{number}"
    return key


def remove_dead_nodes(graph: fx.Graph) -> int:
    """Erase nodes that nothing reads, except inputs; no operator of a program has side effects."""
    erased = 0
    for node in reversed(list(graph.nodes)):
        if node.op not in ("placeholder", "output") and not node.users:
            graph.erase_node(node)
            erased += 1
    return erased


def _fake_like(anchor: fx.Node, tensor: torch.Tensor) -> Any:
    """The constant as a fake tensor of the graph's mode, so that the pass can read its shape."""
    for node in anchor.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode.from_tensor(tensor, static_shapes=True)
    return tensor
