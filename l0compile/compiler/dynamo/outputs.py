"""Which results of a graph the compiled model computes, and which are views that PyTorch makes afterwards."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.errors import CaptureError


@dataclass(frozen=True)
class Outputs:
    """How the results of one graph come about.

    Attributes:
        computed: nodes that the compiled model returns, each with memory of its own.
        views: takes the graph's arguments, then the values of ``computed``; returns all results of the graph.
    """

    computed: tuple[fx.Node, ...]
    views: fx.Graph


def read_outputs(graph: fx.Graph) -> Outputs:
    """Split the results of ``graph``: one that shares memory with an input or another result is made from that.

    Code after a graph break may change a tensor in place, and must then see the change through its views.

    Raises:
        CaptureError: a shared result was changed in place, or a size follows from a computed tensor.
    """
    results = list(next(iter(reversed(graph.nodes))).args[0])
    owners = _owners(graph)
    shared: dict[int, list[fx.Node]] = {}
    for node in dict.fromkeys(result for result in results if isinstance(result, fx.Node)):
        storage = storage_of(node)
        if storage is not None:
            shared.setdefault(storage, []).append(node)
    computed: list[fx.Node] = []
    for storage, nodes in shared.items():
        owner = owners[storage]
        if owner.op == "placeholder":
            continue
        if owner.op == "get_attr":
            raise CaptureError(f"torch.compile: a result shares memory with the constant {owner.target}")
        alone = len(nodes) == 1
        if not alone and changed_in_place(graph, storage):
            raise CaptureError(
                f"torch.compile: results {[node.name for node in nodes]} share memory that is changed in place"
            )
        computed.append(nodes[0] if alone else owner)
    return Outputs(tuple(computed), _views(graph, results, computed))


def _views(graph: fx.Graph, results: Sequence[Any], computed: Sequence[fx.Node]) -> fx.Graph:
    views = fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            made[node] = views.placeholder(node.name)
    for node in computed:
        made[node] = views.placeholder(f"computed_{node.name}")
    wanted = _ancestors([node for node in results if isinstance(node, fx.Node)], set(made))
    for node in graph.nodes:
        if node in wanted and node not in made:
            _refuse_computation(node)
            made[node] = views.node_copy(node, lambda old: made[old])
    views.output(tuple(made[result] if isinstance(result, fx.Node) else result for result in results))
    return views


def _ancestors(nodes: Sequence[fx.Node], stop: Container[fx.Node]) -> set[fx.Node]:
    """Return ``nodes`` and all that they are computed from, looking no further than ``stop``."""
    found: set[fx.Node] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending.extend([] if node in stop else node.all_input_nodes)
    return found


def _refuse_computation(node: fx.Node) -> None:
    """Refuse to repeat anything but views and arithmetic on sizes."""
    storage = storage_of(node)
    inputs = [storage_of(source) for source in node.all_input_nodes]
    if node.op == "get_attr" or (storage is not None and storage not in inputs):
        raise CaptureError(
            f"torch.compile: result {node.name} needs a tensor that is computed on the way to it"
        )


def _owners(graph: fx.Graph) -> dict[int, fx.Node]:
    """Return storage -> the first node with it."""
    owners: dict[int, fx.Node] = {}
    for node in graph.nodes:
        storage = storage_of(node)
        if storage is not None:
            owners.setdefault(storage, node)
    return owners


def changed_in_place(graph: fx.Graph, storage: int | None) -> bool:
    """Return whether the graph writes to the memory that ``storage_of`` names."""
    return any(storage_of(node) == storage and node.meta["example_value"]._version for node in graph.nodes)


def storage_of(node: fx.Node) -> int | None:
    """Return a number that names the memory of a node's tensor."""
    value = node.meta.get("example_value")
    # What a mask of attention computes under vmap is wrapped, once for each dimension that it is mapped over.
    while isinstance(value, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value):
        value = torch._C._functorch.get_unwrapped(value)
    return value.untyped_storage()._cdata if isinstance(value, torch.Tensor) else None
