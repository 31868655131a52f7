"""The logits of all nodes of a graph that is too large for whole layers at once."""

import torch
from torch import Tensor

from l0compile.tasks.graph.models import GraphSAGE, SAGELayer, mean
from l0compile.tasks.graph.neighbours import Neighbours


def all_nodes(model: GraphSAGE, x: Tensor, neighbours: Neighbours, *, at_once: int = 100_000) -> Tensor:
    """Compute layer after layer for all nodes, from all their neighbours, some nodes at a time.

    The memory is that of two layers' results and a chunk. Nothing is computed twice, as it would be node by node.

    Args:
        model: in evaluation mode.
        x: float32 [nodes, features].
        neighbours: of all nodes.
        at_once: nodes of a chunk.

    Returns:
        float32 [nodes, classes], what ``model(x, neighbours.of, neighbours.starts)`` returns, without gradient.
    """
    with torch.no_grad():
        last = len(model.hidden) - 1
        for number, layer in enumerate(model.hidden):
            assert isinstance(layer, SAGELayer)
            x = _layer(layer, x, neighbours, at_once)
            for rows in x.split(at_once):
                rows.copy_(model.embedding(rows) if number == last else torch.relu(rows))
        return _layer(model.classify, x, neighbours, at_once)


def _layer(layer: SAGELayer, x: Tensor, neighbours: Neighbours, at_once: int) -> Tensor:
    """Return float32 [nodes, width of the layer]."""
    found = x.new_empty(len(x), layer.own.out_features)
    source = x
    if layer.project_first:
        source = torch.cat([layer.others(rows) for rows in x.split(at_once)])
    for first in range(0, len(x), at_once):
        part = neighbours.part(first, min(first + at_once, len(x)))
        around = mean(source, part.of, part.starts)
        if not layer.project_first:
            around = layer.others(around)
        found[first : first + at_once] = layer.own(x[first : first + at_once]).add_(around)
    return found
