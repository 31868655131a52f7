"""GCN and GraphSAGE in operators of PyTorch that ``torch.export`` takes.

Neighbours are added up by ``embedding_bag``: the nodes' vectors are the table, and each list of neighbours is a bag.
This operator adds up rows of a table without storing them first, and runs in threads.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from l0compile.tasks.graph.sparse_features import SparseFeatures


def weighted_sum(x: Tensor, neighbours: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Return the sum over each list of neighbours, float32 [lists, width].

    Args:
        x: float32 [nodes, width].
        neighbours: int64 [edges], see `Neighbours`.
        starts: int64 [lists].
        weights: float32 [edges].
    """
    return functional.embedding_bag(neighbours, x, starts, mode="sum", per_sample_weights=weights)


def mean(x: Tensor, neighbours: Tensor, starts: Tensor) -> Tensor:
    """Return the mean over each list of neighbours, float32 [lists, width]; arguments as for `weighted_sum`."""
    return functional.embedding_bag(neighbours, x, starts, mode="mean")


class ByteDropout(nn.Module):
    """Dropout whose probability is rounded to a 256th, since it draws a byte for each element.

    PyTorch's draws a float: on the words of Cora it takes ten times as long, and most of the time of a step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = round(256 * p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept * (256 / (256 - self.dropped))


class GCNLayer(nn.Module):
    """A layer of Kipf & Welling (ICLR 2017), equation 2: Â x Wᵀ + b. The projection comes first, as it is narrower."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, x: Tensor, neighbours: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        return weighted_sum(self.linear(x), neighbours, starts, weights) + self.bias


class SAGELayer(nn.Module):
    """A layer of Hamilton et al. (NeurIPS 2017), algorithm 1 with the mean: x V^T + mean(x of neighbours) W^T + b.

    The mean is taken where it is narrower: of the inputs, or of their projections. The first rows of the input are the
    nodes of the result.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.others = nn.Linear(inputs, outputs, bias=False)
        self.project_first = outputs < inputs
        for linear in (self.own, self.others):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.own.bias)

    def forward(self, x: Tensor, neighbours: Tensor, starts: Tensor) -> Tensor:
        if self.project_first:
            others = mean(self.others(x), neighbours, starts)
        else:
            others = self.others(mean(x, neighbours, starts))
        return self.own(x[: starts.shape[0]]) + others


class GCN(nn.Module):
    """Two layers (Kipf & Welling, ICLR 2017, equation 9); ``embedding`` returns what the second one classifies.

    Args:
        features: of a node.
        width: of the embedding.
        classes: number of classes.
        dropout: probability that a feature is dropped before each layer.
    """

    def __init__(self, features: int, width: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = ByteDropout(dropout)
        self.first = GCNLayer(features, width)
        self.embedding = nn.ReLU()
        self.classify = GCNLayer(width, classes)

    def forward(self, x: Tensor, neighbours: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        """Return logits, float32 [nodes, classes], from float32 [nodes, features], `Neighbours` and their weights."""
        return self._classified(
            self.first(self.dropout(x), neighbours, starts, weights), neighbours, starts, weights
        )

    def of_sparse(self, x: SparseFeatures, neighbours: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        """Return the same for features that are mostly zeros: several times quicker in training."""
        projected = x.linear(self.first.linear, self.dropout(x.values))
        hidden = weighted_sum(projected, neighbours, starts, weights) + self.first.bias
        return self._classified(hidden, neighbours, starts, weights)

    def _classified(self, hidden: Tensor, neighbours: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        hidden = self.embedding(hidden)
        logits: Tensor = self.classify(self.dropout(hidden), neighbours, starts, weights)
        return logits


class GraphSAGE(nn.Module):
    """Two or more layers with the mean of neighbours; ``embedding`` returns what the last one classifies.

    Args:
        features: of a node.
        width: of the embedding, and of the layers before it.
        classes: number of classes.
        dropout: probability that a feature is dropped before each layer.
        layers: number of layers.
    """

    def __init__(
        self, features: int, width: int, classes: int, dropout: float = 0.5, layers: int = 2
    ) -> None:
        super().__init__()
        widths = [features, *[width] * (layers - 1)]
        self.dropout = ByteDropout(dropout)
        self.hidden = nn.ModuleList(SAGELayer(before, after) for before, after in pairwise(widths))
        self.embedding = nn.ReLU()
        self.classify = SAGELayer(width, classes)

    def forward(self, x: Tensor, neighbours: Tensor, starts: Tensor, *following: Tensor) -> Tensor:
        """Return logits, float32 [nodes of the last layer, classes].

        Args:
            x: float32 [nodes, features].
            neighbours, starts: of the first layer, see `Neighbours`. A layer's nodes are the first rows of what it
                reads.
            following: neighbours and starts of each further layer, from a `Sampler`; none: all layers read the same,
                which are those of all nodes.
        """
        lists = [(neighbours, starts), *zip(following[::2], following[1::2], strict=True)]
        lists = lists if following else lists * (len(self.hidden) + 1)
        last = len(self.hidden) - 1
        for number, (layer, of_layer) in enumerate(zip(self.hidden, lists[:-1], strict=True)):
            x = layer(self.dropout(x), *of_layer)
            x = self.embedding(x) if number == last else torch.relu(x)
        logits: Tensor = self.classify(self.dropout(x), *lists[-1])
        return logits
