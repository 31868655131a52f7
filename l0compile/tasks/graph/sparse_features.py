"""A linear layer of sparse features, such as the words of a paper, with a gradient that takes as little time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


@dataclass(frozen=True)
class SparseFeatures:
    """The nonzero features of all nodes, by node and by feature.

    Attributes:
        features, starts: int64 [nonzero] and [nodes], the features of each node.
        nodes, starts_of_features: int64 [nonzero] and [features], the nodes that have each feature.
        order: int64 [nonzero], where the entries by feature are among those by node.
        values: float32 [nonzero], by node.
    """

    features: Tensor
    starts: Tensor
    nodes: Tensor
    starts_of_features: Tensor
    order: Tensor
    values: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "SparseFeatures":
        """Read a dense matrix, float32 [nodes, features]."""
        nodes, features = x.nonzero(as_tuple=True)
        order = features.argsort(stable=True)
        starts, starts_of_features = (
            torch.bincount(places, minlength=size).cumsum(0) - torch.bincount(places, minlength=size)
            for places, size in ((nodes, x.shape[0]), (features, x.shape[1]))
        )
        return cls(features, starts, nodes[order], starts_of_features, order, x[nodes, features])

    def linear(self, linear: nn.Linear, values: Tensor) -> Tensor:
        """Return ``linear`` of the features with other values [nonzero], without its bias, float32 [nodes, width]."""
        result: Tensor = _Product.apply(linear.weight.t(), values, self)
        return result


class _Product(torch.autograd.Function):
    """X M for a sparse X; its gradient by M is X^T times that of the result."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, values: Tensor, sparse: SparseFeatures) -> Tensor:
        ctx.values, ctx.sparse = values, sparse
        return _added_up(sparse.features, matrix, sparse.starts, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        sparse = ctx.sparse
        return _added_up(sparse.nodes, grad, sparse.starts_of_features, ctx.values[sparse.order]), None, None


def _added_up(places: Tensor, rows: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    return functional.embedding_bag(places, rows.contiguous(), starts, mode="sum", per_sample_weights=values)
