"""A ``score_mod`` or ``mask_mod`` of flex_attention, as it was traced: a function of one score and of its place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import remove_dead_nodes
from l0compile.ir.program import copy_graph

PLACE = ("batch", "head", "query", "key")
"""The numbers that a mask_mod takes; a score_mod takes the score before them."""


@dataclass(frozen=True, eq=False)
class Mod:
    """A traced function of scalars.

    Attributes:
        module: its placeholders are ``names``, then one for each of ``buffers``; it holds no tensors.
        names: what the first placeholders stand for: ``PLACE``, with ``score`` before it if it takes one.
        buffers: what the function captured: nodes of the graph around it, or numbers.
    """

    module: fx.GraphModule
    names: tuple[str, ...]
    buffers: tuple[Any, ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        """The value at one place; ``arguments`` are those of ``names``, then the buffers."""
        result = self.module(*arguments)
        return result[0] if isinstance(result, tuple | list) else result

    @property
    def result(self) -> fx.Node:
        """The node of the value."""
        found: Any = next(iter(reversed(self.module.graph.nodes))).args[0]
        found = found[0] if isinstance(found, tuple | list) else found
        assert isinstance(found, fx.Node)
        return found

    @cached_property
    def inputs(self) -> dict[fx.Node, str]:
        """Placeholder -> its name; ``buffer 0`` is the first buffer."""
        nodes = self.module.graph.find_nodes(op="placeholder")
        names = (*self.names, *(f"buffer {number}" for number in range(len(self.buffers))))
        return dict(zip(nodes, names, strict=True))

    @cached_property
    def _read(self) -> dict[fx.Node, frozenset[str]]:
        found: dict[fx.Node, frozenset[str]] = {}
        for node in self.module.graph.nodes:
            own = [self.inputs[node]] if node.op == "placeholder" else []
            found[node] = frozenset(own).union(*(found[source] for source in node.all_input_nodes))
        return found

    def reads(self, node: fx.Node | None = None) -> frozenset[str]:
        """The names of what a node, or the result, depends on."""
        return self._read[self.result if node is None else node]

    def known_buffers(self, value: Callable[[Any], Any]) -> tuple[Any, ...] | None:
        """The values of the buffers, 0 for those that the result does not depend on; None if one is not known.

        Args:
            value: of a buffer, None where that is not known.
        """
        names = self.reads()
        values = [
            value(buffer) if f"buffer {number}" in names else 0 for number, buffer in enumerate(self.buffers)
        ]
        return None if any(found is None for found in values) else tuple(values)

    def part(self, node: fx.Node) -> "Mod":
        """The function that gives ``node``, without the score if that does not depend on it."""
        graph = copy_graph(self.module.graph)
        by_name = {copied.name: copied for copied in graph.nodes}
        next(iter(reversed(graph.nodes))).args = (by_name[node.name],)
        remove_dead_nodes(graph)
        names = self.names
        if "score" in names and "score" not in self.reads(node):
            graph.erase_node(graph.find_nodes(op="placeholder")[0])
            names = names[1:]
        return Mod(fx.GraphModule({}, graph), names, self.buffers)

    def then(self, operator: Any) -> "Mod":
        """``operator`` of the value."""
        found = self.part(self.result)
        graph = found.module.graph
        output = next(iter(reversed(graph.nodes)))
        with graph.inserting_before(output):
            output.args = (graph.call_function(operator, (found.result,)),)
        return Mod(fx.GraphModule({}, graph), found.names, found.buffers)


def over(
    mod: Mod,
    levels: str,
    varying: Sequence[str],
    place: Sequence[Tensor],
    buffers: Sequence[Any],
    score: Tensor | None = None,
) -> Tensor:
    """The values at many places, mapped as eager flex_attention maps them.

    Args:
        mod: the function.
        levels: a letter for each dimension of the result, in order.
        varying: for batch, head, query and key the letters of the dimensions of its tensor, in the order of ``levels``.
        place: numbers of batches, heads, queries and keys.
        buffers: the values of ``mod.buffers``.
        score: of the shape of the result, for a function of scores.
    """
    function: Any = mod
    first, last = (() if score is None else (0,)), (None,) * len(buffers)
    for level in reversed(levels):
        own = tuple(0 if level in letters else None for letters in varying)
        function = torch.vmap(function, in_dims=(*first, *own, *last))
    given = () if score is None else (score,)
    found: Tensor = function(*given, *place, *buffers)
    return found


def on_grid(mod: Mod, place: Sequence[Tensor], buffers: Sequence[Any], score: Tensor | None = None) -> Tensor:
    """The values for all combinations of batches [B], heads [H], queries [Q] and keys [K]: [B, H, Q, K]."""
    return over(mod, "bhqk", ("b", "h", "q", "k"), place, buffers, score)
