"""Which channels of a graph could go, what would shrink with them, and what holds the others."""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import fx

from l0compile.analysis.coupling import KeptChannels, couple
from l0compile.analysis.liveness import analyse
from l0compile.ir.nodes import arguments, is_op, shape, tensor
from l0compile.ir.program import Program
from l0compile.rewrite.regions import ATTENTIONS

aten = torch.ops.aten
_REGIONS = (
    aten.linear.default, aten.convolution.default, aten.scaled_dot_product_attention.default, *ATTENTIONS,
)  # fmt: skip


@dataclass(frozen=True)
class Channels:
    """The channels of one axis, with all that are coupled with them.

    Attributes:
        writers: regions that make them as outputs.
        readers: regions that take them as inputs.
        heads: number of heads if they pass through an attention, else None.
        blocked: what holds them, or an empty string.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    heads: int | None
    blocked: str


class Graph:
    """The regions of a program, and how their channels are coupled."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.liveness = analyse(program)
        self.kept: KeptChannels = couple(program, self.liveness)
        self.nodes = {
            str(node.meta["region"]): node
            for node in program.graph.nodes
            if is_op(node, *_REGIONS) and "region" in node.meta
        }

    def inputs(self, region: str) -> Channels | None:
        """Return the channels that a region reads; None if their number is not fixed."""
        node = self.nodes[region]
        source = arguments(node).get("input")
        return self._channels((source, _feature(node, source))) if isinstance(source, fx.Node) else None

    def outputs(self, region: str) -> Channels | None:
        """Return the channels that a region makes."""
        node = self.nodes[region]
        return self._channels((node, _feature(node, node)))

    def only_through(self, region: str) -> tuple[str, ...]:
        """Return the regions, this one included, that reach a result of the model through this one alone."""
        reached: set[fx.Node] = set()
        todo = [self.program.output]
        while todo:
            node = todo.pop()
            if node not in reached and node is not self.nodes[region]:
                reached.add(node)
                todo += node.all_input_nodes
        return tuple(name for name, node in self.nodes.items() if node not in reached)

    def is_added(self, region: str) -> bool:
        """Return whether a region's result is a branch that is added to something else."""
        node = self.nodes[region]
        return any(is_op(user, aten.add.Tensor) and tensor(user) is not None for user in node.users)

    def obstacles(self) -> dict[str, int]:
        """Return reason that holds channels -> number of axes, the most frequent first."""
        found = (reason for pins in self.kept.pins.values() for reason in {pin.reason for pin in pins})
        return dict(Counter(found).most_common())

    def _channels(self, axis: tuple[fx.Node, int]) -> Channels | None:
        if axis not in self.kept.masks:
            return None
        coupled = dict.fromkeys(self.kept.coupled(axis))
        writers, readers, heads = [], [], None
        for name, node in self.nodes.items():
            source = arguments(node).get("input")
            if (node, _feature(node, node)) in coupled:
                if is_op(node, *ATTENTIONS):
                    heads = int(arguments(node)["heads"])
                writers.append(name)
            if isinstance(source, fx.Node) and (source, _feature(node, source)) in coupled:
                readers.append(name)
        pins = [pin for other in coupled for pin in self.kept.pins.get(other, ())]
        blocked = pins[0].reason if pins else ""
        if blocked and len(writers) > 1:
            # A constant channel may pass where a live one is pinned, but then all that write it must close it.
            blocked += f"; {len(writers)} layers write them, and all would have to close a channel (rule 7)"
        return Channels(tuple(writers), tuple(readers), heads, blocked)


def _feature(node: fx.Node, of: fx.Node) -> int:
    """Return the axis of channels in a region's input or result."""
    return 1 if is_op(node, aten.convolution.default) else len(shape(of)) - 1
