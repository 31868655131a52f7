"""Message passing over an edge list: GCN by index_add, GAT by scatter."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.model import Call, ZooModel
from tests.zoo.prune import Coupled

FEATURES, CLASSES, HEADS = 16, 7, 4


class GraphConvolution(nn.Module):
    """Mean of the transformed neighbours, weighted by the degrees on both ends."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.linear, self.bias = nn.Linear(inside, outside, bias=False), nn.Parameter(torch.zeros(outside))

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        degree = x.new_ones(x.shape[0]).index_add(0, target, torch.ones_like(target, dtype=x.dtype))
        norm = degree.rsqrt()
        h = self.linear(x)
        messages = h[source] * (norm[source] * norm[target]).unsqueeze(-1)
        own = h / degree.unsqueeze(-1)
        return own.index_add(0, target, messages) + self.bias


class Gcn(nn.Module):
    """Features [nodes, 16] and edges [2, edges] -> logits [nodes, classes]."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.ModuleList([GraphConvolution(FEATURES, width), GraphConvolution(width, width)])
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x, edges[0], edges[1]))
        return self.fc(x)


class GraphAttention(nn.Module):
    """Attention of each node over the edges that reach it, by heads; their results side by side."""

    def __init__(self, inside: int, width: int):
        super().__init__()
        self.linear = nn.Linear(inside, HEADS * width, bias=False)
        self.source, self.target = (nn.Parameter(torch.zeros(HEADS, width)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(HEADS * width))

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        h = self.linear(x).unflatten(-1, (HEADS, -1))
        scores = (h * self.source).sum(-1)[source] + (h * self.target).sum(-1)[target]
        scores = F.leaky_relu(scores, 0.2)
        index = target.unsqueeze(-1).expand_as(scores)
        empty = torch.zeros(x.shape[0], HEADS, dtype=x.dtype)
        highest = empty.scatter_reduce(0, index, scores, "amax", include_self=False)
        weights = (scores - highest[target]).exp()
        total = empty.scatter_add(0, index, weights)
        messages = h[source] * (weights / total[target]).unsqueeze(-1)
        return torch.zeros_like(h).index_add(0, target, messages).flatten(1) + self.bias


class Gat(nn.Module):
    """Features [nodes, 16] and edges [2, edges] -> logits [nodes, classes]."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.ModuleList([GraphAttention(FEATURES, width), GraphAttention(HEADS * width, width)])
        self.fc = nn.Linear(HEADS * width, CLASSES)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.elu(layer(x, edges[0], edges[1]))
        return self.fc(x)


def gcn(scale: int) -> nn.Module:
    return Gcn(32 * scale)


def gat(scale: int) -> nn.Module:
    return Gat(8 * scale)


def graph(batch: int, nodes: int) -> Call:
    """Three random edges a node, and one from each node to itself; the batch multiplies the nodes."""
    count = batch * nodes
    own = torch.arange(count).expand(2, -1)
    return (torch.randn(count, FEATURES), torch.cat([torch.randint(0, count, (2, 3 * count)), own], 1)), {}


GCN = (
    Coupled(out=("layers.0.linear", "layers.0.bias"), into=("layers.1.linear",)),
    # The bias stays: a dead channel is a constant at every node.
    Coupled(out=("layers.1.linear",)),
)

GAT = (
    Coupled(out=("layers.*.linear", "layers.*.bias"), units=HEADS),
    Coupled(out=("layers.1.linear",), into=("fc",)),
)

DYNAMIC = {"x": {0: "nodes"}, "edges": {1: "edges"}}
SIZES: dict[str, Any] = {"sizes": (2, 10), "other": (3, 12), "timed": (1, 512), "dynamic_shapes": DYNAMIC}

MODELS = (ZooModel("gcn", gcn, graph, GCN, **SIZES), ZooModel("gat", gat, graph, GAT, **SIZES))
